/** The RabbitMQ to run: the one installed on this machine, or one in a separate directory (rabbitmq4.ts). */
import { serverPath } from './install.ts'

export interface Command {
  readonly command: string
  /** Come before the arguments of the call. */
  readonly args: readonly string[]
}

export interface RabbitmqInstallation {
  readonly server: Command
  readonly ctl: Command
}

/** @throws Error if it is not installed */
export function hostInstallation(): RabbitmqInstallation {
  const command = (name: string): Command => ({ command: serverPath(name), args: [] })
  return { server: command('rabbitmq-server'), ctl: command('rabbitmqctl') }
}
