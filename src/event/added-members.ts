import type { Event } from './event.ts'

/** `,"receivedAt":"2026-11-24T13:05:07.123Z"}`, the end of every event that has more than one member. */
const END = /^,"receivedAt":"[^"]{24}"\}$/
const END_BYTES = 41

/**
 * The event with more members. They stand before `receivedAt`, which stays the last one.
 *
 * @param members without braces, on one line: `"a":1,"b":2`. None of these names may be in the event.
 */
export function withAddedMembers(event: Event, members: string): Event {
  const { body } = event
  const at = body.length - END_BYTES
  const end = body.toString('latin1', at)
  if (!END.test(end)) throw new Error('The event does not end in its receivedAt.')
  const added = Buffer.from(`,${members}${end}`)
  return { ...event, body: Buffer.concat([body.subarray(0, at), added]) }
}
