/** Reads `ops/compose/compose.yaml` as Docker Compose does. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { ROOT } from '../services/program.ts'

export const COMPOSE_DIRECTORY = join(ROOT, 'ops', 'compose')
export const COMPOSE_FILE = join(COMPOSE_DIRECTORY, 'compose.yaml')
const VARIABLE = /\$\{(\w+)(?:(:-|:\?)([^}]*))?\}/g

export interface Service {
  readonly image: string
  readonly entrypoint?: readonly string[]
  readonly command?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly hostname?: string
  readonly volumes?: readonly string[]
  readonly networks: readonly string[] | Readonly<Record<string, { aliases?: readonly string[] } | null>>
  readonly ports?: readonly string[]
  readonly depends_on?: Readonly<Record<string, { condition: string }>>
  readonly healthcheck?: { readonly test: readonly string[] }
  readonly read_only?: boolean
  readonly stop_signal?: string
  readonly stop_grace_period?: string
}

export interface ComposeFile {
  readonly services: Readonly<Record<string, Service>>
  readonly volumes: Readonly<Record<string, unknown>>
  readonly networks: Readonly<Record<string, { internal?: boolean }>>
}

/**
 * @param variables the content of .env
 * @throws Error that names a variable that is required and not set
 */
export function readCompose(variables: Readonly<Record<string, string>>): ComposeFile {
  return filledIn(parse(readFileSync(COMPOSE_FILE, 'utf8'), { merge: true }), variables) as ComposeFile
}

/** Other names by which the containers of a service are found. */
export function aliasesOf({ networks }: Service): string[] {
  return Object.values(networks).flatMap(network =>
    typeof network === 'object' ? [...(network?.aliases ?? [])] : [],
  )
}

function filledIn(value: unknown, variables: Readonly<Record<string, string>>): unknown {
  if (typeof value === 'string')
    return value.replace(VARIABLE, (_, name: string, kind: string | undefined, text: string) => {
      const known = variables[name]
      if (known !== undefined && known !== '') return known
      if (kind === ':-') return text
      throw new Error(`${name}: ${text}`)
    })
  if (Array.isArray(value)) return value.map(each => filledIn(each, variables))
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, filledIn(each, variables)]))
}
