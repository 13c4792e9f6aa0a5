/** Finds the servers that test files need, by the settings in these files and in the files that they import. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

export type Server = 'rabbitmq' | 's3'

export const SERVERS: readonly Server[] = ['rabbitmq', 's3']

const SETTINGS: Readonly<Record<Server, RegExp>> = {
  rabbitmq: /\bTEST_(?:AMQP_URL|RABBITMQCTL_ENV)\b/,
  s3: /\bTEST_S3_ENDPOINT\b/,
}

const TEST_FILE = /\.test\.ts$/

/** A file that reaches one of these starts servers of its own. */
const STARTERS = /[/\\]services[/\\](?:rabbitmq|radosgw)\.ts$/

export interface Needs {
  /** The servers that have to run. */
  readonly servers: ReadonlySet<Server>
  /** Whether the programs of the servers have to be installed. */
  readonly hasPrograms: boolean
}

/**
 * @returns the needs of a command with these arguments: all servers, unless its only paths are test files. Without a path
 *   tap runs all tests
 * @param args of the command; an argument that is not an existing path is taken for an option or its value
 */
export function neededServers(args: readonly string[]): Needs {
  const paths = args.filter(arg => !arg.startsWith('-') && existsSync(arg))
  const areTests = paths.length > 0 && paths.every(path => TEST_FILE.test(path) && statSync(path).isFile())
  if (!areTests) return { servers: new Set(SERVERS), hasPrograms: true }
  const reached = [...filesReachedFrom(paths.map(path => resolve(path)))]
  const texts = reached.map(textOf)
  const servers = new Set(SERVERS.filter(server => texts.some(text => SETTINGS[server].test(text))))
  return { servers, hasPrograms: servers.size > 0 || reached.some(path => STARTERS.test(path)) }
}

/** Returns these files and every file of this project that they import, dynamically and for types too. */
function filesReachedFrom(paths: readonly string[]): ReadonlySet<string> {
  const reached = new Set(paths)
  // Iterating a Set also visits the values that are added meanwhile.
  for (const path of reached) for (const imported of importsOf(path)) reached.add(imported)
  return reached
}

function importsOf(path: string): string[] {
  const specifiers = textOf(path).matchAll(/(?:\bfrom|\bimport\(|\bimport)\s*'(\.[^']+\.ts)'/g)
  return Array.from(specifiers, ([, specifier = '']) => join(dirname(path), specifier)).filter(existsSync)
}

function textOf(path: string): string {
  return readFileSync(path, 'utf8')
}
