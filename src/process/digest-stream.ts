import { createHash } from 'node:crypto'
import { Transform, type TransformCallback } from 'node:stream'

/** Passes bytes on, counts them, and computes their digest. */
export class DigestStream extends Transform {
  readonly #digest = createHash('sha256')
  bytes = 0

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    this.#digest.update(chunk)
    this.bytes += chunk.length
    done(null, chunk)
  }

  /** To be called once, at the end: 64 hexadecimal digits. */
  sha256(): string {
    return this.#digest.digest('hex')
  }
}
