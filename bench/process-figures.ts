/** CPU time and memory of a process and its descendants, from /proc of Linux. */
import { readdirSync, readFileSync } from 'node:fs'

/** The unit of CPU time in /proc, sysconf(_SC_CLK_TCK): 100 a second on every architecture of Linux. */
const TICK_US = 10_000

export interface MemoryFigures {
  /** Peak of resident memory (VmHWM). */
  readonly peakMib: number
  /** Present resident memory without mapped files (RssAnon). */
  readonly anonMib: number
}

/** Returns user and system time of a process and its running descendants, in microseconds. The kernel counts in steps of 10,000. */
export function cpuUs(pid: number): number {
  return family(pid).reduce((sum, each) => sum + ticks(each), 0) * TICK_US
}

/** Returns the memory of a process and its descendants, added up. */
export function memory(pid: number): MemoryFigures {
  const each = family(pid).map(member => readFileSync(`/proc/${member}/status`, 'utf8'))
  return { peakMib: sumMib(each, 'VmHWM'), anonMib: sumMib(each, 'RssAnon') }
}

/** Returns the present resident memory of one process (VmRSS). */
export function residentMib(pid: number): number {
  return sumMib([readFileSync(`/proc/${pid}/status`, 'utf8')], 'VmRSS')
}

/** Returns the CPU time of the running threads of a process in nanoseconds, more exact than cpuUs(). */
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

/** Returns the fields from the third on. The second one is a name in brackets, which may contain blanks and brackets. */
function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}

/** Returns the process ids of a process and its descendants. */
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
