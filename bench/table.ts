/** The results of rows, and the table of them. */
import type { MemoryFigures } from './process-figures.ts'

/** The figures of one program. Lists have a number for each round, and the table shows the median. */
export interface Line {
  readonly name: string
  readonly eventsPerSecond?: readonly number[]
  readonly ms?: readonly number[]
  readonly cpuUs?: readonly number[]
  readonly brokerCpuUs?: readonly number[]
  readonly p50Ms?: readonly number[]
  readonly p99Ms?: readonly number[]
  readonly memory?: MemoryFigures
  /** How many events were answered, and how many are in the queue or the archive. */
  readonly counted?: string
  /** A sentence for each fault. */
  readonly flaws: readonly string[]
}

export interface RowResult {
  readonly title: string
  readonly goal: string
  /** frequency first. The other lines are compared with it. */
  readonly lines: readonly Line[]
  readonly notes?: readonly string[]
}

const COLUMNS = [
  '',
  'events/s',
  '(range)',
  'ours ÷ it',
  'CPU µs',
  'broker µs',
  'p50 ms',
  'p99 ms',
  'peak MiB',
  'anon MiB',
  'counted',
]

export function table(results: readonly RowResult[]): string {
  const cells = results.map(({ lines }) => lines.map(line => cellsOf(line, lines[0])))
  const widths = COLUMNS.map((name, column) =>
    Math.max(name.length, ...cells.flat().map(row => (row[column] as string).length)),
  )
  const print = (row: readonly string[]) =>
    row
      .map((cell, n) =>
        n === 0 || n === row.length - 1 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0),
      )
      .join('  ')
      .trimEnd()
  const blocks = results.map(({ title, goal, lines, notes = [] }, n) => [
    `${title}  [goal: ${goal}]`,
    ...(cells[n] ?? []).map(row => `  ${print(row)}`),
    ...notes.map(note => `  ${note}`),
    ...lines.flatMap(({ name, flaws }) => flaws.map(flaw => `  ! ${name}: ${flaw}`)),
  ])
  return `\n  ${print(COLUMNS)}\n\n${blocks.map(block => block.join('\n')).join('\n\n')}\n`
}

function cellsOf(line: Line, ours: Line | undefined): string[] {
  const { name, eventsPerSecond, ms, cpuUs, brokerCpuUs, p50Ms, p99Ms, memory, counted } = line
  return [
    name,
    eventsPerSecond === undefined ? shown(median(ms), 0, ' ms') : shown(median(eventsPerSecond), 0),
    range(eventsPerSecond ?? ms),
    line === ours ? '' : ratio(ours, line),
    shown(median(cpuUs), 1),
    shown(median(brokerCpuUs), 1),
    shown(median(p50Ms), 2),
    shown(median(p99Ms), 2),
    shown(memory?.peakMib, 0),
    shown(memory?.anonMib, 0),
    counted ?? '',
  ]
}

/** Returns rate of ours ÷ rate of the other; if times were measured, time of ours ÷ time of the other. */
export function ratio(ours: Line | undefined, other: Line): string {
  const [mine, its] = [ours?.eventsPerSecond ?? ours?.ms, other.eventsPerSecond ?? other.ms].map(median)
  const times = (mine ?? Number.NaN) / (its ?? Number.NaN)
  return Number.isNaN(times) ? '' : `${times.toFixed(2)} ×`
}

export function median(values: readonly number[] | undefined): number | undefined {
  const ascending = [...(values ?? [])].sort((a, b) => a - b)
  const middle = ascending.length / 2
  const [low, high] = [ascending[Math.ceil(middle) - 1], ascending[Math.floor(middle)]]
  return low === undefined || high === undefined ? undefined : (low + high) / 2
}

function range(values: readonly number[] = []): string {
  return values.length < 2 ? '' : `(${shown(Math.min(...values), 0)}–${shown(Math.max(...values), 0)})`
}

function shown(value: number | undefined, digits: number, unit = ''): string {
  if (value === undefined || Number.isNaN(value)) return ''
  return `${value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })}${unit}`
}
