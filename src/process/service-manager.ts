/** Tells systemd when the service is ready, and when it stops: sd_notify(3). */
import { spawn } from 'node:child_process'
import type { Logger } from './logger.ts'

const COMMAND = 'systemd-notify'
const MICROSECONDS = 1_000

/** Does nothing if the process was not started by a unit with `Type=notify`, or is a worker of one. */
export class ServiceManager {
  readonly #socket: string | undefined
  readonly #path: string | undefined
  readonly #log: Logger

  /** @param env `NOTIFY_SOCKET` is removed, so that no child process notifies systemd */
  constructor(env: NodeJS.ProcessEnv, log: Logger) {
    this.#socket = env.NOTIFY_SOCKET
    this.#path = env.PATH
    this.#log = log
    delete env.NOTIFY_SOCKET
  }

  /** @param status shown by `systemctl status` */
  ready(status: string): void {
    this.#notify(['READY=1', `STATUS=${status}`])
  }

  /** @param msMax systemd waits at least this long, also if `TimeoutStopSec` of the unit is shorter */
  stopping(msMax: number): void {
    this.#notify(['STOPPING=1', 'STATUS=Shutting down', `EXTEND_TIMEOUT_USEC=${msMax * MICROSECONDS}`])
  }

  /** Node cannot send to a Unix datagram socket, so this runs a program of systemd. */
  #notify(assignments: readonly string[]): void {
    if (this.#socket === undefined) return
    const env = { NOTIFY_SOCKET: this.#socket, ...(this.#path !== undefined && { PATH: this.#path }) }
    const child = spawn(COMMAND, assignments, { env, stdio: ['ignore', 'ignore', 'inherit'] })
    const failed = (reason: object): void =>
      this.#log.error(
        { ...reason, assignments },
        `systemd could not be notified: ${COMMAND} failed. A unit with Type=notify is stopped after its TimeoutStartSec.`,
      )
    child.once('error', err => failed({ err }))
    child.once('exit', (code, signal) => {
      if (code !== 0) failed({ code, signal })
    })
    // The notification is sent, also if this process ends meanwhile.
    child.unref()
  }
}
