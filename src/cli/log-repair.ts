import type { Config } from '../config/config.ts'
import { isAgreed } from './agreement.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { LogRepair, type RepairPlan } from './log/repair-log.ts'
import type { LogFlags, Outcome } from './log.ts'
import { withExisting } from './open-existing.ts'
import { describeProblems, listed, many } from './verify/report.ts'

/** Objects that are listed. All are counted. */
const LIST_MAX = 20
/** Of a Date (ECMA-262). */
const TIME_MS_MAX = 8.64e15

/** @returns the action that repairs this record */
export function repair(number: number): (config: Config, flags: LogFlags) => Promise<Outcome> {
  return async (config, { yes = false, json = false }) => {
    return await withExisting(config, async store => {
      const work = new LogRepair(store, config.archive.prefix, number)
      const planned = await work.plan()
      if (!json) process.stdout.write(planInWords(planned))
      if (!yes && !(await isAgreed(json)))
        return { code: EXIT_CODES.failed, report: reportOf(planned, false), text: 'Nothing was changed.\n' }
      const done = await work.run(planned)
      return {
        code: isWhole(done) ? EXIT_CODES.done : EXIT_CODES.failed,
        report: { ...reportOf(done, true), salvaged: planned.salvage.map(({ key }) => key) },
        text: doneInWords(done),
      }
    })
  }
}

function doneInWords(plan: RepairPlan): string {
  const done = `Record ${plan.number} is repaired: it names ${amountOf(plan)}. Archivers continue by themselves.`
  return `${[done, ...leftInWords(plan)].join('\n\n')}\n`
}

function planInWords(plan: RepairPlan): string {
  const { number, problem, isGone, salvage, batches, damaged, lost } = plan
  const blocks = [
    [problem],
    listed(
      'Objects to restore first: their bytes are in the record, or staged',
      salvage.length,
      salvage.slice(0, LIST_MAX).map(({ key }) => key),
    ),
    listed(
      'Objects that no record names',
      batches.length,
      batches.slice(0, LIST_MAX).map(({ key, events }) => `${key}  (${many(events, 'event')})`),
    ),
    listed(
      'Objects of earlier records that an erasure has rewritten, as the record has said',
      lost.rewrites.length,
      lost.rewrites.slice(0, LIST_MAX).map(({ key }) => key),
    ),
    lost.expiredBefore === undefined
      ? []
      : [
          `Objects whose last event is older than ${timeOf(lost.expiredBefore)} have expired, as the record has said.`,
        ],
    listed(
      'Damaged objects, which no record will name',
      damaged.length,
      damaged.slice(0, LIST_MAX).map(describeProblems),
    ),
    [
      `Record ${number} will be ${isGone ? 'created' : 'overwritten'}. It will name ${amountOf(plan)}${salvage.length > 0 ? `, and the ${many(salvage.length, 'object')} to restore` : ''}.`,
    ],
    ...leftInWords(plan).map(line => [line]),
  ]
  return `${blocks
    .filter(lines => lines.length > 0)
    .map(lines => lines.join('\n'))
    .join('\n\n')}\n`
}

/** What the new record cannot say, and what to do. */
function leftInWords({ lost }: RepairPlan): string[] {
  const { unproven, unexpired, gone, unnamedStaged } = lost
  const lines: string[][] = [
    listed(
      'Objects that an erasure has rewritten, and whose new bytes are nowhere. Restore them from a backup, and run the erasure again',
      unproven.length,
      unproven.slice(0, LIST_MAX),
    ),
    unexpired === undefined
      ? []
      : [
          `By the damaged record, objects whose last event is older than ${timeOf(unexpired.before)} have expired, but ${many(unexpired.objects, 'object')} of these ${unexpired.objects === 1 ? 'is' : 'are'} still there. The new record does not say so. Run "frequency expire" with the same RETENTION and RAW_RETENTION: it records what has expired again.`,
        ],
    listed(
      'Objects that the log names, and that are gone. If RETENTION or RAW_RETENTION has removed them, run "frequency expire" with the same settings: it records what has expired again. If not, restore them from a backup',
      gone.objects,
      gone.list,
    ),
    unnamedStaged === 0
      ? []
      : [
          `An erasure has staged ${many(unnamedStaged, 'object')} that no record names. If none runs, run "frequency erase" with the same condition again: it erases these events, or finds that they are erased.`,
        ],
  ]
  return lines.filter(each => each.length > 0).map(each => each.join('\n'))
}

function isWhole({ damaged, lost }: RepairPlan): boolean {
  const { unproven, unexpired, gone, unnamedStaged } = lost
  return damaged.length + unproven.length + gone.objects + unnamedStaged === 0 && unexpired === undefined
}

/** The time of a damaged record may be beyond what a Date can hold. */
function timeOf(ms: number): string {
  return Math.abs(ms) <= TIME_MS_MAX ? new Date(ms).toISOString() : String(ms)
}

function amountOf({ batches, events }: RepairPlan): string {
  return `${many(batches.length, 'object')} with ${many(events, 'event')}`
}

function reportOf({ number, problem, salvage, batches, events, damaged, lost }: RepairPlan, isDone: boolean) {
  const { rewrites, expiredBefore, unexpired, ...left } = lost
  return {
    record: number,
    problem,
    isRepaired: isDone,
    salvaged: salvage.map(({ key }) => key),
    objects: batches.map(({ key, events: count }) => ({ key, events: count })),
    events,
    damaged,
    rewritten: rewrites.map(({ key }) => key),
    ...(expiredBefore !== undefined && { expiredBefore: timeOf(expiredBefore) }),
    ...(unexpired !== undefined && { unexpired: { ...unexpired, before: timeOf(unexpired.before) } }),
    ...left,
  }
}
