import type { Config } from '../config/config.ts'
import { isAgreed } from './agreement.ts'
import { LogRepair, type RepairPlan } from './log/repair-log.ts'
import { EXIT_CODES, type LogFlags, type Outcome } from './log.ts'
import { openExisting } from './open-existing.ts'
import { describeProblems, listed, many } from './verify/report.ts'

/** Objects that are listed. All are counted. */
const LIST_MAX = 20

/** @returns the action that repairs this record */
export function repair(number: number): (config: Config, flags: LogFlags) => Promise<Outcome> {
  return async (config, { yes = false, json = false }) => {
    const store = await openExisting(config)
    try {
      const work = new LogRepair(store, config.archive.prefix, number)
      const planned = await work.plan()
      if (!json) process.stdout.write(planInWords(planned))
      if (!yes && !(await isAgreed(json)))
        return { code: EXIT_CODES.findings, report: reportOf(planned, false), text: 'Nothing was changed.\n' }
      const done = await work.run(planned)
      return {
        code: done.damaged.length === 0 ? EXIT_CODES.fine : EXIT_CODES.findings,
        report: { ...reportOf(done, true), salvaged: planned.salvage.map(({ key }) => key) },
        text: `Record ${number} is repaired: it names ${amountOf(done)}. Archivers continue by themselves.\n`,
      }
    } finally {
      await store.close()
    }
  }
}

function planInWords(plan: RepairPlan): string {
  const { number, problem, isGone, salvage, batches, damaged } = plan
  const blocks = [
    [problem],
    listed(
      'Objects to restore first: their bytes are in the record, or staged',
      salvage.length,
      salvage.slice(0, LIST_MAX).map(({ key }) => [key]),
    ),
    listed(
      'Objects that no record names',
      batches.length,
      batches.slice(0, LIST_MAX).map(({ key, events }) => [`${key}  (${many(events, 'event')})`]),
    ),
    listed(
      'Damaged objects, which no record will name',
      damaged.length,
      damaged.slice(0, LIST_MAX).map(describeProblems),
    ),
    [
      `Record ${number} will be ${isGone ? 'created' : 'overwritten'}. It will name ${amountOf(plan)}${salvage.length > 0 ? `, and the ${many(salvage.length, 'object')} to restore` : ''}.`,
    ],
  ]
  return `${blocks
    .filter(lines => lines.length > 0)
    .map(lines => lines.join('\n'))
    .join('\n\n')}\n`
}

function amountOf({ batches, events }: RepairPlan): string {
  return `${many(batches.length, 'object')} with ${many(events, 'event')}`
}

function reportOf({ number, problem, salvage, batches, events, damaged }: RepairPlan, isDone: boolean) {
  return {
    record: number,
    problem,
    isRepaired: isDone,
    salvaged: salvage.map(({ key }) => key),
    objects: batches.map(({ key, events: count }) => ({ key, events: count })),
    events,
    damaged,
  }
}
