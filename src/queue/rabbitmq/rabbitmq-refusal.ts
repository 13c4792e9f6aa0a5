/** Explains why RabbitMQ cannot be used, and what to do. */
import type { Socket } from 'node:net'
import { AMQPError } from 'rabbitmq-client'
import { failureReason } from '../../process/failure-reason.ts'

/** What to check, by error code: of AMQP 0-9-1 (section 1.5), of TLS, or of this file. */
const ADVICE: Record<string, string> = {
  ACCESS_REFUSED: 'Check user and password in AMQP_URL, and what that user may do',
  NOT_ALLOWED: 'Check the virtual host, which is the path of AMQP_URL, and whether the user may use it',
  EPROTO: 'Check the port in AMQP_URL: amqps:// wants the one for TLS, which is mostly 5671',
  NOT_AMQP: 'Check the port in AMQP_URL, which is mostly 5672, and 5671 for amqps://',
}
/** The broker's refusals of a login or a declaration. A retry gets the same answer. */
const FINAL_CODES = new Set(['ACCESS_REFUSED', 'NOT_ALLOWED', 'PRECONDITION_FAILED'])
/** The first byte of a method frame, and of `AMQP`, which a broker sends to refuse a version of the protocol. */
const FIRST_BYTES = new Set([0x01, 0x41])

class OtherProtocol extends Error {
  readonly code = 'NOT_AMQP'
}

/** Whether a retry is useless: a wrong login or virtual host, a queue with other arguments, or another protocol. */
export function isFinalRefusal(error: unknown): boolean {
  if (error instanceof OtherProtocol) return true
  return error instanceof AMQPError && FINAL_CODES.has(error.code)
}

/** Where the broker is, without user and password: `RabbitMQ at rabbit:5672, virtual host events`. */
export function brokerPlace(url: string): string {
  const { host, pathname } = new URL(url)
  const virtualHost = decodeURIComponent(pathname.slice(1))
  return `RabbitMQ at ${host}${virtualHost === '' ? '' : `, virtual host ${virtualHost}`}`
}

/** @returns one line, with advice. The client library's prefix, a method name or `undefined`, is removed. */
export function brokerReason(error: unknown): string {
  const said = failureReason(error).replace(/^(?:undefined|[A-Z][A-Za-z]+): (?=[A-Z_]+ - )/, '')
  const { code = '' } = error as NodeJS.ErrnoException
  const advice = ADVICE[code]
  const sentence = said.replace(/[.:\s]+$/, '')
  return advice === undefined ? sentence : `${sentence}. ${advice}`
}

/** Destroys a connection whose first byte is not AMQP. The client library would read it as the length of a frame. */
export function refuseOtherProtocols(socket: Socket): void {
  const read = socket.read.bind(socket)
  socket.read = size => {
    const bytes: unknown = read(size)
    if (!Buffer.isBuffer(bytes)) return bytes
    socket.read = read
    if (FIRST_BYTES.has(bytes[0] ?? 0)) return bytes
    socket.destroy(new OtherProtocol('the server there does not speak AMQP'))
    return null
  }
}
