import { createRequire } from 'node:module'
import { type Logger as Pino, pino, stdSerializers } from 'pino'
import { isRefusal } from '../errors.ts'

const require = createRequire(import.meta.url)

export type Logger = Pick<Pino, 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'>

/** An error whose message says what to do is logged without its stack. */
const serializers = {
  err: (error: Error) =>
    isRefusal(error) ? { code: error.code, message: error.message } : stdSerializers.err(error),
}

/**
 * Logs to standard output: JSON lines, or readable text on a terminal. Lines that cannot be written, because a disk is
 * full, are dropped.
 *
 * @param closed called when the reader of standard output has closed the pipe (EPIPE)
 */
export function createLogger(level: string, isTerminal: boolean, closed: () => void = () => {}): Pino {
  const output = pino.destination({ dest: process.stdout.fd, sync: true })
  output.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') closed()
  })
  if (!isTerminal) return pino({ level, serializers }, output)
  // Loaded only on a terminal. Not as a transport: a thread needs a script on disk, and the executable has none.
  const { prettyFactory }: typeof import('pino-pretty') = require('pino-pretty')
  const format = prettyFactory({ ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' })
  return pino({ level, serializers }, { write: line => void output.write(format(line)) })
}
