/**
 * The name of an event for display: its `event`; else its `type`, followed by its `name` if it has one (`page Home`);
 * else `(no name)`. ui/wording.js has the same rule for the live page.
 */
export function eventName({ event, type, name }: Readonly<Record<string, unknown>>): string {
  if (isText(event)) return String(event)
  if (!isText(type)) return '(no name)'
  return isText(name) ? `${type} ${name}` : String(type)
}

function isText(value: unknown): boolean {
  return (typeof value === 'string' && value !== '') || typeof value === 'number'
}
