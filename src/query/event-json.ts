/** SQL that makes an event's line of its columns (event-columns.ts). */

/**
 * An expression on `events`: the event as JSON on one line, value for value as it was sent. Members may be in another
 * order.
 */
export const EVENT_JSON = `coalesce(raw, '{' || concat_ws(',',
    ${text('messageId', 'message_id')},
    ${unlessInExtra(['event'], text('event', 'event'))},
    ${unlessInExtra(['type'], text('type', 'type'))},
    ${identity('userId', 'user_id')},
    ${identity('anonymousId', 'anonymous_id')},
    ${unlessInExtra(['timestamp'], time('timestamp', 'timestamp'))},
    ${text('source', 'source')},
    ${unlessInExtra(['channel'], text('channel', 'channel'))},
    '"properties":' || cast(properties as varchar),
    '"context":' || cast(context as varchar),
    '"traits":' || cast(traits as varchar),
    substr(cast(extra as varchar), 2, length(cast(extra as varchar)) - 2),
    ${unlessInExtra(['receivedAt'], time('receivedAt', 'received_at'))}
  ) || '}')`

/** NULL for a NULL: `concat_ws` leaves it out. */
function text(name: string, column: string): string {
  return `'"${name}":' || cast(to_json(${column}) as varchar)`
}

function time(name: string, column: string): string {
  return `strftime(${column}, '"${name}":"%Y-%m-%dT%H:%M:%S.%gZ"')`
}

/** The member has the usual spelling. In the other one it is in `extra`. */
function identity(camel: string, snake: string): string {
  const usual = `case when type is null then ${text(snake, snake)} else ${text(camel, snake)} end`
  return unlessInExtra([camel, snake], usual)
}

/**
 * NULL if `extra` has one of the members, as it was sent. A null there says nothing of the column: it may be that of the
 * other spelling.
 */
function unlessInExtra(names: readonly string[], member: string): string {
  return `case when ${names.map(isInExtra).join(' or ')} then null else ${member} end`
}

/** The text is searched first: that is cheaper, and mostly enough. */
function isInExtra(name: string): string {
  return `contains(coalesce(cast(extra as varchar), ''), '"${name}"') and json_extract_string(extra, '$.${name}') is not null`
}
