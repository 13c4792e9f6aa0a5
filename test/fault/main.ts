/**
 * Kills, pauses and cuts off the built program and its servers at random moments under load, and counts
 * what of the acknowledged is not in the archive, or is there twice. Exits with 1 on any finding.
 *
 *     npm run test:fault -- --rounds 200 --seed 7 --cluster
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { Random } from './random.ts'
import { report } from './report.ts'
import { type RunOptions, run } from './run.ts'

interface Flags {
  program: string
  seed: string
  rounds: string
  cluster: boolean
  ingests: string
  archivers: string
  rate: string
  heartbeat: string
  only: string[]
  keep?: string
}

const flags = new Command('test:fault')
  .option('--seed <text>', 'repeats the choices of an earlier run', randomBytes(4).toString('hex'))
  .option('--rounds <number>', 'how many rounds of faults', '200')
  .option('--cluster', 'a RabbitMQ of three nodes rather than of one', false)
  .option(
    '--program <file>',
    'the build to try',
    fileURLToPath(new URL('../../dist/bin/frequency.js', import.meta.url)),
  )
  .option('--ingests <number>', 'processes that take events', '2')
  .option('--archivers <number>', 'processes that archive them', '2')
  .option('--rate <number>', 'events a second', '600')
  .option('--heartbeat <seconds>', 'of AMQP; short, so that a broker drops within a round who is silent', '2')
  .option('--only <text...>', 'only faults whose names hold one of these', [])
  .option('--keep <directory>', 'keeps logs and data there; after a failure they are kept anyway')
  .parse()
  .opts<Flags>()

const options: RunOptions = {
  program: resolve(flags.program),
  seed: flags.seed,
  rounds: Number(flags.rounds),
  brokers: flags.cluster ? 3 : 1,
  ingests: Number(flags.ingests),
  archivers: Number(flags.archivers),
  rate: Number(flags.rate),
  heartbeat: Number(flags.heartbeat),
  compression: new Random(`${flags.seed} compression`).pick(['gzip', 'gzip', 'none']),
  only: flags.only,
  keep: flags.keep ?? join(tmpdir(), `frequency-fault-${flags.seed}`),
  keepsAlways: flags.keep !== undefined,
  report: line => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`),
}

process.stderr.write(`seed ${options.seed}\n`)
try {
  const outcome = await run(options)
  process.stdout.write(`${report(options, outcome)}\n`)
  if (outcome.findings.length > 0) {
    writeFileSync(join(options.keep, 'findings.txt'), `${outcome.findings.join('\n')}\n`)
    process.stderr.write(`Logs and data are in ${options.keep}; run again with --seed ${options.seed}\n`)
    process.exitCode = 1
  }
} catch (error) {
  process.stderr.write(`${(error as Error).stack}\nLogs and data are in ${options.keep}\n`)
  process.exitCode = 1
}
