/**
 * Kills, pauses and cuts off the built program and its servers at random times under load. Then counts the
 * acknowledged events that the archive does not have, or has twice. Exits with 1 if there is any finding.
 *
 *     npm run test:fault -- --rounds 200 --seed 7 --kind cluster
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, Option } from 'commander'
import { BUILT_PROGRAM } from '../services/program.ts'
import { BROKER_KINDS, type BrokerKind } from './brokers.ts'
import { report } from './report.ts'
import { revisionOf } from './revision.ts'
import { type RunOptions, run } from './run.ts'

/** The minimum of DEDUPE_WINDOW_MS. */
const WINDOW_MS = 60_000

interface Flags {
  program: string
  seed: string
  rounds: string
  kind: BrokerKind
  ingests: string
  archivers: string
  rate: string
  heartbeat: string
  window: boolean
  storm: string
  env: string[]
  only: string[]
  keep?: string
}

const flags = new Command('test:fault')
  .option('--seed <text>', 'repeats the choices of an earlier run', randomBytes(4).toString('hex'))
  .option('--rounds <number>', 'how many rounds of faults', '200')
  .addOption(
    new Option(
      '--kind <kind>',
      'the broker: one node, three nodes, or one node of RabbitMQ 4 (Linux, as root)',
    )
      .choices(BROKER_KINDS)
      .default('single'),
  )
  .option('--program <file>', 'the build to try', BUILT_PROGRAM)
  .option('--ingests <number>', 'processes that take events', '2')
  .option('--archivers <number>', 'processes that archive them', '2')
  .option('--rate <number>', 'events a second', '600')
  .option(
    '--heartbeat <seconds>',
    'AMQP heartbeat; short, so that a broker drops a silent client within a round',
    '2',
  )
  .option('--window', 'a dedupe window of a minute, and spools older than that', false)
  .option('--storm <events>', 'size of each backlog of the retry storm measurement; 0 for none', '40000')
  .option('--env <name=value...>', 'settings of all processes, instead of random ones', [])
  .option('--only <text...>', 'only faults whose names contain one of these', [])
  .option('--keep <directory>', 'keeps logs and data there; after a failure they are always kept')
  .parse()
  .opts<Flags>()

const options: RunOptions = {
  program: resolve(flags.program),
  seed: flags.seed,
  rounds: Number(flags.rounds),
  kind: flags.kind,
  ingests: Number(flags.ingests),
  archivers: Number(flags.archivers),
  rate: Number(flags.rate),
  heartbeat: Number(flags.heartbeat),
  window: flags.window ? WINDOW_MS : undefined,
  env: Object.fromEntries(flags.env.map(each => each.split(/=(.*)/s))),
  stormEvents: Number(flags.storm),
  only: flags.only,
  keep: flags.keep ?? join(tmpdir(), `frequency-fault-${flags.seed}`),
  keepsAlways: flags.keep !== undefined,
  report: line => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`),
}

process.stderr.write(`seed ${options.seed}\n`)
try {
  const outcome = await run(options)
  process.stdout.write(`${report(options, outcome, revisionOf(options.program))}\n`)
  if (outcome.findings.length > 0) {
    writeFileSync(join(options.keep, 'findings.txt'), `${outcome.findings.join('\n')}\n`)
    process.stderr.write(`Logs and data are in ${options.keep}; run again with --seed ${options.seed}\n`)
    process.exitCode = 1
  }
} catch (error) {
  process.stderr.write(`${(error as Error).stack}\nLogs and data are in ${options.keep}\n`)
  process.exitCode = 1
}
