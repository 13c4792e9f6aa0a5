import { type Logger as Pino, pino } from 'pino'

export type Logger = Pick<Pino, 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'>

/** Logs to standard output: JSON lines, or readable text on a terminal. */
export function createLogger(level: string, isTerminal: boolean): Pino {
  if (!isTerminal) return pino({ level })
  return pino({
    level,
    transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' } },
  })
}
