/**
 * npm run test:simulation -- --schedules 10000 [--seen]
 * npm run test:simulation -- --seed SEED [--without NAMES] [--trace]
 */

import './virtual-time.ts'
import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { countsText, findingText, runFleet, seenText } from './fleet.ts'
import { runSeed } from './run-seed.ts'

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '10000' },
    seconds: { type: 'string', default: '1e9' },
    workers: { type: 'string', default: String(availableParallelism()) },
    findings: { type: 'string', default: '1' },
    /** Print how often each fault struck, and how often each sentence was logged. */
    seen: { type: 'boolean', default: false },
    /** The first part of the seeds of many schedules. */
    from: { type: 'string', default: randomBytes(4).toString('hex') },
    /** One schedule. */
    seed: { type: 'string' },
    without: { type: 'string', default: '' },
    trace: { type: 'boolean', default: false },
  },
})

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function runOne(seed: string): Promise<boolean> {
  const leftOut = new Set(values.without.split(',').filter(name => name !== ''))
  const { trace, findings, traceHash, steps, requests } = await runSeed(seed, {
    leftOut,
    keepsTrace: values.trace,
  })
  for (const line of trace) print(line)
  for (const { kind, text } of findings) print(`${kind}: ${text}`)
  print(`${seed}: ${findings.length} findings, ${steps} steps, ${requests} requests, trace ${traceHash}`)
  return findings.length === 0
}

async function runMany(): Promise<boolean> {
  let shownAt = performance.now()
  const result = await runFleet({
    seed: values.from,
    schedules: Number(values.schedules),
    seconds: Number(values.seconds),
    workers: Number(values.workers),
    findingsMax: Number(values.findings),
    found: finding => print(findingText(finding)),
    progressed: ({ schedules }) => {
      if (performance.now() - shownAt < 10_000) return
      shownAt = performance.now()
      print(`${schedules} schedules`)
    },
  })
  if (values.seen) print(seenText(result))
  print(`seeds ${values.from}-…: ${countsText(result)}, ${result.findings.length} findings`)
  return result.findings.length === 0
}

process.exitCode = (await (values.seed === undefined ? runMany() : runOne(values.seed))) ? 0 : 1
