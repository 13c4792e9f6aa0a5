import { setImmediate as turn } from 'node:timers/promises'
import { type Config, readConfig } from '../config/config.ts'
import { ConfigInvalid } from '../errors.ts'
import { checkBroker } from './check/broker.ts'
import { checkDirectory, checkDisk } from './check/disk.ts'
import type { Finding, Findings } from './check/finding.ts'
import { checkLog } from './check/log.ts'

const EXIT_CODES = { fine: 0, trouble: 1 } as const

const LABELS: Record<Finding['result'], string> = {
  ok: 'ok',
  warning: 'WARN',
  trouble: 'FAIL',
  skipped: '-',
}

/**
 * Tests the disk, broker and archive that a server with these settings would use. Writes each finding to standard output
 * as soon as it is made.
 *
 * @param stopping ends the check before its next step. What it has written is deleted first.
 * @returns the exit code: 1 if events would be lost, refused or not archived, else 0
 */
export async function check(
  flags: Partial<Record<string, string>> & { readonly json?: boolean },
  env: NodeJS.ProcessEnv,
  stopping: AbortSignal,
): Promise<number> {
  const findings: Finding[] = []
  const { json, ...settings } = flags
  for await (const finding of findingsOf(settings, env)) {
    // A write to a closed output fails only in the next turn of the event loop.
    await turn()
    if (stopping.aborted) return EXIT_CODES.trouble
    findings.push(finding)
    if (json !== true) process.stdout.write(lineOf(finding))
  }
  const result = resultOf(findings)
  process.stdout.write(
    json === true ? `${JSON.stringify({ result, findings }, null, 2)}\n` : verdictOf(findings),
  )
  return EXIT_CODES[result === 'trouble' ? 'trouble' : 'fine']
}

async function* findingsOf(flags: Partial<Record<string, string>>, env: NodeJS.ProcessEnv): Findings {
  let config: Config
  try {
    config = readConfig(flags, env)
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error
    yield { name: 'settings', result: 'trouble', detail: error.message }
    return
  }
  yield { name: 'settings', result: 'ok', detail: `valid for the role ${config.role}` }
  yield* checkDisk(config)
  const { amqpUrl, amqpQueue } = config
  if (amqpUrl === undefined)
    yield { name: 'broker', result: 'skipped', detail: 'no AMQP_URL: events are queued in DATA_DIR' }
  else yield* checkBroker({ amqpUrl, amqpQueue })
  yield* checkArchive(config)
}

async function* checkArchive(config: Config): Findings {
  if (config.role === 'ingest') {
    yield { name: 'archive', result: 'skipped', detail: 'not used by the role ingest' }
    return
  }
  let works = true
  for await (const finding of checkStore(config)) {
    works &&= finding.result !== 'trouble'
    yield finding
  }
  if (works) yield await checkLog(config)
}

async function* checkStore(config: Config): Findings {
  if (config.archive.kind === 'directory') {
    yield* checkDirectory(config.archive.path)
  } else {
    // Imported here, so that a check without S3 does not load the AWS SDK.
    const { checkS3 } = await import('./check/s3.ts')
    yield* checkS3(config.archive, config)
  }
}

function lineOf({ name, result, detail }: Finding): string {
  return `${LABELS[result].padEnd(4)}  ${name.padEnd(14)}  ${detail}\n`
}

function resultOf(findings: readonly Finding[]): 'fine' | 'warnings' | 'trouble' {
  if (findings.some(({ result }) => result === 'trouble')) return 'trouble'
  return findings.some(({ result }) => result === 'warning') ? 'warnings' : 'fine'
}

function verdictOf(findings: readonly Finding[]): string {
  const count = (wanted: Finding['result']) => findings.filter(({ result }) => result === wanted).length
  const failures = count('trouble')
  if (failures > 0) return `\nNOT READY: ${failures} failed (FAIL above).\n`
  const warnings = count('warning')
  return warnings > 0
    ? `\nREADY, with ${warnings} warning${warnings === 1 ? '' : 's'} (WARN above).\n`
    : '\nREADY.\n'
}
