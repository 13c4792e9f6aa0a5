/** A short `npm run test:fault`: a few rounds, with a random seed. */
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { BUILT_PROGRAM } from '../services/program.ts'
import { report } from './report.ts'
import { revisionOf } from './revision.ts'
import { type RunOptions, run } from './run.ts'

const ROUNDS = 4

t.setTimeout(420_000)

t.test('acknowledged events are archived once, whatever fails', async t => {
  const seed = randomBytes(4).toString('hex')
  const options: RunOptions = {
    program: BUILT_PROGRAM,
    seed,
    rounds: ROUNDS,
    kind: 'single',
    ingests: 2,
    archivers: 2,
    rate: 300,
    heartbeat: 2,
    window: undefined,
    env: {},
    stormEvents: 0,
    only: [],
    keep: join(tmpdir(), `frequency-fault-${seed}`),
    keepsAlways: false,
    report: line => t.comment(line),
  }
  const outcome = await run(options)
  t.comment(report(options, outcome, revisionOf(options.program)))
  t.same(outcome.findings, [], `npm run test:fault -- --seed ${seed} --rounds ${ROUNDS} --rate 300`)
})
