import { readdirSync, readFileSync } from 'node:fs'

const SAMPLE_MS = 50
const PAGE_MIB = 4096 / 1024 / 1024

/** The peak of resident memory of a process and its descendants together, in samples. */
export class PeakMemory {
  readonly #pid: number
  readonly #timer: NodeJS.Timeout
  #peakMib = 0

  constructor(pid: number) {
    this.#pid = pid
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS)
  }

  /** @returns MiB */
  stop(): number {
    clearInterval(this.#timer)
    return Math.round(this.#peakMib)
  }

  #sample(): void {
    const parents = new Map<number, number>()
    for (const name of readdirSync('/proc')) if (/^\d+$/.test(name)) parents.set(Number(name), parentOf(name))
    const isOfFamily = (pid: number): boolean =>
      pid === this.#pid || (parents.has(pid) && isOfFamily(parents.get(pid) as number))
    let mib = 0
    for (const pid of parents.keys()) if (isOfFamily(pid)) mib += residentMib(pid)
    this.#peakMib = Math.max(this.#peakMib, mib)
  }
}

function parentOf(pid: string): number {
  const stat = read(`/proc/${pid}/stat`)
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0)
}

function residentMib(pid: number): number {
  return Number(read(`/proc/${pid}/statm`).split(' ')[1] ?? 0) * PAGE_MIB
}

/** Empty if the process has ended. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
