/**
 * What an event is called for people: its `event`; else its `type`, with its `name` if it has one (`page Home`).
 * ui/wording.js has the same for the live page.
 */
export function eventName({ event, type, name }: Readonly<Record<string, unknown>>): string {
  if (isText(event)) return String(event)
  if (!isText(type)) return '(no name)'
  return isText(name) ? `${type} ${name}` : String(type)
}

function isText(value: unknown): boolean {
  return (typeof value === 'string' && value !== '') || typeof value === 'number'
}
