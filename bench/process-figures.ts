/** What Linux has noted for a process and its children: the time that they have run, and their memory. */
import { readdirSync, readFileSync } from 'node:fs'

/** proc(5) counts in units of sysconf(_SC_CLK_TCK), which is 100 a second on all of Linux's architectures. */
const TICK_US = 10_000

export interface MemoryFigures {
  /** The peak of resident memory (VmHWM). */
  readonly peakMib: number
  /** Resident memory at present, without what is mapped from files (RssAnon). */
  readonly anonMib: number
}

/** User and system time of a process and of all below it that still run, in microseconds; a tick is 10,000. */
export function cpuUs(pid: number): number {
  return family(pid).reduce((sum, each) => sum + ticks(each), 0) * TICK_US
}

/** Of a process and of all below it, added up. */
export function memory(pid: number): MemoryFigures {
  const each = family(pid).map(member => readFileSync(`/proc/${member}/status`, 'utf8'))
  return { peakMib: sumMib(each, 'VmHWM'), anonMib: sumMib(each, 'RssAnon') }
}

/** Resident memory of a process at present (VmRSS). */
export function residentMib(pid: number): number {
  return sumMib([readFileSync(`/proc/${pid}/status`, 'utf8')], 'VmRSS')
}

/** How long the threads of a process have run, in nanoseconds: finer than ticks, without threads that have ended. */
export function runNs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
    const [ns] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')
    return sum + Number(ns)
  }, 0)
}

function sumMib(statuses: readonly string[], name: string): number {
  const kib = statuses.map(status =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0),
  )
  return kib.reduce((sum, each) => sum + each, 0) / 1024
}

/** utime and stime, fields 14 and 15 of proc_pid_stat(5). */
function ticks(pid: number): number {
  const fields = statFields(pid)
  return Number(fields?.[11] ?? 0) + Number(fields?.[12] ?? 0)
}

/** The fields from the third on: the second is a name in brackets, which may hold anything. */
function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}

function family(pid: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (/^\d+$/.test(name)) parents.set(Number(name), Number(statFields(Number(name))?.[1] ?? 0))
  }
  const members = [pid]
  for (const member of members) {
    for (const [child, parent] of parents) if (parent === member) members.push(child)
  }
  return members
}
