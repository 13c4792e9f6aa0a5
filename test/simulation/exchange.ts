/** The outcome of a request to the store for its sender. */

import { Readable } from 'node:stream'
import type { S3Reply } from '../services/s3-operations.ts'

export interface HandlerResponse {
  readonly response: { statusCode: number; reason: string; headers: Record<string, string>; body: Readable }
}

export class Exchange {
  readonly #resolve: (response: HandlerResponse) => void
  readonly #reject: (error: Error) => void
  readonly #at: (ms: number, text: string, act: () => void) => void

  constructor(
    resolve: (response: HandlerResponse) => void,
    reject: (error: Error) => void,
    at: (ms: number, text: string, act: () => void) => void,
  ) {
    this.#resolve = resolve
    this.#reject = reject
    this.#at = at
  }

  reply(ms: number, reply: S3Reply, date: string, isCut = false): void {
    const { status, body = '' } = reply
    const bytes = Buffer.from(body)
    const length = reply.headers?.['content-length'] ?? String(bytes.length)
    const headers = { ...reply.headers, 'content-length': length, date, 'x-amz-request-id': 'SIM' }
    this.#at(ms, `← ${status}${isCut ? ', cut short' : ''}`, () => {
      this.#resolve({
        response: { statusCode: status, reason: '', headers, body: isCut ? cut(bytes) : streamOf(bytes) },
      })
    })
  }

  reset(ms: number): void {
    this.#at(ms, '← reset', () =>
      this.#reject(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })),
    )
  }

  timeOut(ms: number): void {
    this.#at(ms, '← nothing in time', () =>
      this.#reject(Object.assign(new Error(`Connection timed out after ${ms} ms`), { name: 'TimeoutError' })),
    )
  }
}

function streamOf(bytes: Buffer): Readable {
  const stream = new Readable({ read() {} })
  if (bytes.length > 0) stream.push(bytes)
  stream.push(null)
  return stream
}

function cut(bytes: Buffer): Readable {
  let isFirst = true
  return new Readable({
    read() {
      if (isFirst && bytes.length > 1) this.push(bytes.subarray(0, bytes.length >> 1))
      else this.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }))
      isFirst = false
    },
  })
}
