import { type Logger as Pino, pino, stdSerializers } from 'pino'
import { isRefusal } from '../errors.ts'

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
  if (!isTerminal) {
    const output = pino.destination({ dest: process.stdout.fd, sync: true })
    output.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') closed()
    })
    return pino({ level, serializers }, output)
  }
  return pino({
    level,
    serializers,
    transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' } },
  })
}
