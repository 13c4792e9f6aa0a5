/** The content of events and requests. */
import { randomBytes } from 'node:crypto'
import type { Random } from './random.ts'
import type { Ledger } from './sent-events.ts'

const NOISE = randomBytes(1024 * 1024).toString('base64')

/** Size of the incompressible part of an event. */
export interface Sizes {
  readonly bytesMin: number
  readonly bytesMax: number
}

export interface SentEvent {
  readonly event: string
  readonly messageId?: string | undefined
  readonly receivedAt?: string | undefined
  readonly properties: { readonly ordinal: number; readonly bytes: number; readonly noise: string }
}

export function eventOf(
  ledger: Ledger,
  ordinal: number,
  { bytesMin, bytesMax }: Sizes,
  random: Random,
): SentEvent {
  const bytes = random.between(bytesMin, bytesMax)
  const start = random.between(0, NOISE.length - bytes - 1)
  const properties = { ordinal, bytes, noise: NOISE.slice(start, start + bytes) }
  return { event: 'fault_test', messageId: ledger.idOf(ordinal), properties }
}

/** The format of a request: one event, several, or several as Segment's libraries send them. */
export type Carrier = 'single' | 'array' | 'lines' | 'segment'

export interface Body {
  readonly path: string
  readonly type: string
  readonly bytes: Buffer
}

export function bodyOf(carrier: Carrier, events: readonly SentEvent[]): Body {
  switch (carrier) {
    case 'single':
      return { path: '/api/t', type: 'application/json', bytes: json(events[0]) }
    case 'array':
      return { path: '/api/t/batch', type: 'application/json', bytes: json(events) }
    case 'lines': {
      const text = events.map(event => JSON.stringify(event)).join('\n')
      return { path: '/api/t/batch', type: 'application/x-ndjson', bytes: Buffer.from(text) }
    }
    case 'segment': {
      const batch = events.map(event => ({ type: 'track', userId: 'u1', ...event }))
      return { path: '/v1/batch', type: 'application/json', bytes: json({ batch }) }
    }
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}
