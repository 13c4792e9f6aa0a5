/**
 * Breaks the durable path on purpose in a copy of the tree, one change at a time, and counts how many breaks the tests
 * notice. Exits with 1 below 90 %, or if the list does not match the code.
 *
 *     npm run test:breaks -- --only watermark
 *     npm run test:breaks -- --list
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { applied, type Break, nameOf, needsServers } from './break.ts'
import { BREAKS } from './breaks.ts'
import { type BreakResult, BreakRunner } from './run-break.ts'
import { ROOT, TreeCopy } from './tree.ts'

const NOTICED_SHARE_MIN = 0.9
const NAME_WIDTH = 66
const CHECK_WIDTH = 25
const FAILURE_LENGTH_MAX = 110
const SIGNALS = ['SIGINT', 'SIGTERM'] as const

const flags = new Command('test:breaks')
  .option('--only <text...>', 'only breaks whose name or file contains one of these', [])
  .option('--list', 'print the breaks without running them', false)
  .parse()
  .opts<{ only: string[]; list: boolean }>()

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function row(...[name, noticedBy, seconds, failure]: [string, string, string, string]): string {
  return `${name.padEnd(NAME_WIDTH)} ${noticedBy.padEnd(CHECK_WIDTH)} ${seconds.padStart(7)}  ${failure}`.trimEnd()
}

function rowOf({ each, noticedBy, failure = '', ms }: BreakResult): string {
  const by = noticedBy === undefined ? '(nobody)' : nameOf(noticedBy)
  return row(each.name, by, (ms / 1000).toFixed(1), failure.slice(0, FAILURE_LENGTH_MAX))
}

function list(breaks: readonly Break[]): void {
  for (const { name, file, promise, checks } of breaks)
    print(`${name}\n    ${file}: ${promise}\n    ${checks.map(nameOf).join('; ')}`)
  print(`${breaks.length} breaks`)
}

/**
 * @param useless the output of checks that fail without a break, by their names
 * @returns whether enough breaks were noticed, and no check fails without a break
 */
function report(results: readonly BreakResult[], useless: ReadonlyMap<string, string>): boolean {
  const survivors = results.filter(({ noticedBy }) => noticedBy === undefined)
  const noticed = results.length - survivors.length
  const share = results.length === 0 ? 0 : noticed / results.length
  print(`\n${noticed} of ${results.length} breaks were noticed: ${(share * 100).toFixed(1)} %`)
  for (const { each } of survivors)
    print(`not noticed: ${each.name} (${each.file}). ${each.promise} ${each.survives ?? ''}`.trimEnd())
  for (const [name, output] of useless) print(`\n${name} fails without a break:\n${output}`)
  return share >= NOTICED_SHARE_MIN && useless.size === 0
}

async function runAll(breaks: readonly Break[]): Promise<boolean> {
  for (const each of breaks) applied(each, readFileSync(join(ROOT, each.file), 'utf8'))
  const stopping = new AbortController()
  for (const signal of SIGNALS) process.once(signal, () => stopping.abort(new Error(`stopped by ${signal}`)))
  const copy = new TreeCopy()
  const runner = new BreakRunner(copy, stopping.signal)
  const results: BreakResult[] = []
  try {
    print(row('break', 'noticed by', 'seconds', 'what failed'))
    for (const each of breaks) {
      const result = await runner.run(each)
      results.push(result)
      print(rowOf(result))
    }
  } finally {
    copy.remove()
  }
  return report(results, runner.useless)
}

/** Runs the same command again with the servers. @returns its exit code */
async function runWithServers(): Promise<number> {
  const services = fileURLToPath(new URL('../services/run.ts', import.meta.url))
  const self = [process.execPath, '--import=tsx', fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  const child = spawn(process.execPath, ['--import=tsx', services, ...self], { stdio: 'inherit' })
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal))
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}

const chosen = BREAKS.filter(
  ({ name, file }) =>
    flags.only.length === 0 || flags.only.some(text => name.includes(text) || file.includes(text)),
)

try {
  if (flags.list) list(chosen)
  else if (process.env.TEST_AMQP_URL === undefined && chosen.some(({ checks }) => checks.some(needsServers)))
    process.exitCode = await runWithServers()
  else process.exitCode = (await runAll(chosen)) ? 0 : 1
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}
