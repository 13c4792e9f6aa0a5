/**
 * A link of so many bytes a second in each direction, whatever the number of connections: those of the tests limit
 * each connection, and an archiver has several.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Transform, type TransformCallback } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

const SLICE_BYTES = 32 * 1024

export interface NarrowLink {
  /** On 127.0.0.1. */
  readonly port: number
  close(): Promise<void>
}

/** @param bytesPerSecond Infinity for a proxy that does not limit */
export async function openNarrowLink(target: number, bytesPerSecond: number): Promise<NarrowLink> {
  const sockets = new Set<Socket>()
  const [up, down] = [new Lane(bytesPerSecond), new Lane(bytesPerSecond)]
  const server = createServer({ allowHalfOpen: true, noDelay: true }, client => {
    const far = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    for (const [from, to, lane] of [
      [client, far, up],
      [far, client, down],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.once('close', () => {
        sockets.delete(from)
        if (!from.readableEnded) to.destroy()
      })
      from.pipe(lane.passage()).pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** One direction: what passes is due one after the other. */
class Lane {
  readonly #bytesPerSecond: number
  #freeAt = 0

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond
  }

  passage(): Transform {
    const passage = new Transform({
      transform: (chunk: Buffer, _: BufferEncoding, done: TransformCallback) => {
        this.#pass(chunk, passage).then(() => done(), done)
      },
    })
    return passage
  }

  async #pass(chunk: Buffer, to: Transform): Promise<void> {
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      const slice = chunk.subarray(at, at + SLICE_BYTES)
      const now = performance.now()
      this.#freeAt = Math.max(now, this.#freeAt) + (slice.length / this.#bytesPerSecond) * 1_000
      const ms = this.#freeAt - now
      if (ms >= 1) await sleep(ms)
      to.push(slice)
    }
  }
}
