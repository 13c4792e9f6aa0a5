import { type Logger as Pino, pino, stdSerializers } from 'pino'
import { isRefusal } from '../errors.ts'

export type Logger = Pick<Pino, 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'>

/** The stack of an error that says what to do would be the same each time, and tells a person nothing. */
const serializers = {
  err: (error: Error) =>
    isRefusal(error) ? { code: error.code, message: error.message } : stdSerializers.err(error),
}

/**
 * Structured lines on standard output: JSON, or text for a person on a terminal.
 *
 * @param closed called when nobody reads standard output any more (EPIPE); later lines are dropped
 */
export function createLogger(level: string, isTerminal: boolean, closed: () => void = () => {}): Pino {
  if (!isTerminal) {
    const output = pino.destination({ dest: process.stdout.fd, sync: true })
    output.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      closed()
    })
    return pino({ level, serializers }, output)
  }
  return pino({
    level,
    serializers,
    transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' } },
  })
}
