/** SQL that makes an event's line of its columns (event-columns.ts). */

const SNAKE = { user_id: 'userId', anonymous_id: 'anonymousId' } as const

/**
 * An expression on `events`: the event as JSON on one line, value for value as it was sent. Members may be in another
 * order.
 */
export const EVENT_JSON = `coalesce(raw, '{' || concat_ws(',',
    ${text('messageId', 'message_id')},
    ${text('event', 'event')},
    ${text('type', 'type')},
    ${identity('user_id')},
    ${identity('anonymous_id')},
    ${time('timestamp', 'timestamp')},
    ${text('source', 'source')},
    ${text('channel', 'channel')},
    '"properties":' || cast(properties as varchar),
    '"context":' || cast(context as varchar),
    '"traits":' || cast(traits as varchar),
    substr(cast(extra as varchar), 2, length(cast(extra as varchar)) - 2),
    ${time('receivedAt', 'received_at')}
  ) || '}')`

/** NULL for a NULL: `concat_ws` leaves it out. */
function text(name: string, column: string): string {
  return `'"${name}":' || cast(to_json(${column}) as varchar)`
}

function time(name: string, column: string): string {
  return `strftime(${column}, '"${name}":"%Y-%m-%dT%H:%M:%S.%gZ"')`
}

/** The member has the usual spelling, unless `extra` has it in the other one. */
function identity(column: keyof typeof SNAKE): string {
  const camel = SNAKE[column]
  return `case when type is null
      then case when ${isInExtra(camel)} then null else ${text(column, column)} end
      else case when ${isInExtra(column)} then null else ${text(camel, column)} end end`
}

/** Whether `extra` has the member. The text is searched first: that is cheaper, and mostly enough. */
function isInExtra(name: string): string {
  return `contains(coalesce(cast(extra as varchar), ''), '"${name}"') and json_exists(extra, '$.${name}')`
}
