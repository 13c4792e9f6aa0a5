import { parseArgs } from 'node:util'
import { IDS, type Ids } from './bodies.ts'

/** The rows of the table, in the order in which they run. */
export const ROWS = [
  'confirmed',
  'embedded',
  'latency',
  'batch',
  'archive',
  'start',
  'ids',
  'window',
  'takeover',
  'spread',
  'far',
  'rest',
  'lake',
  'beside',
  'day',
  'replay',
  'erase',
  'flat',
] as const

/** Defaults, if neither the row nor the options have another value. */
export const ARCHIVE_EVENTS = 300_000
export const BATCH_EVENTS = 10_000

export type RowName = (typeof ROWS)[number]

export interface BenchOptions {
  readonly rows: readonly RowName[]
  /** The rows `confirmed`, `embedded`, `batch` and `archive` run once with each of these. */
  readonly ids: readonly Ids[]
  readonly rounds: number
  /** Seconds of load in a round. */
  readonly seconds: number
  /** Seconds of load before the first round; 0 for none. */
  readonly warmUpSeconds: number
  /** Whether a round begins only when the measured processes are nearly idle. */
  readonly waitsForQuiet: boolean
  /** Number of starts of each program in the row `start`. */
  readonly starts: number
  readonly connections: number
  /** Events in the queue when an archiver starts; undefined: the default of the row. */
  readonly archiveEvents: number | undefined
  /** BATCH_EVENTS_MAX of archivers; undefined: the default of the row. */
  readonly batchEvents: number | undefined
  /** Numbers of ids in the index of an archiver, in the rows `window` and `takeover`; undefined: the defaults of the row. */
  readonly windows: readonly number[] | undefined
  /** Whether rows are small, only to see that they work. */
  readonly isSmoke: boolean
  /** BATCH_AGE_MS_MAX of archivers. Short, so that the last batch, which is not full, is archived soon. */
  readonly batchAgeMs: number
  /** Minutes that the row `flat` runs. */
  readonly minutes: number
  /** Events a second in the row `flat`. */
  readonly flatRate: number
  /** More environment variables of frequency. */
  readonly env: Readonly<Record<string, string>>
  /** Options of Node for frequency. */
  readonly nodeArgs: readonly string[]
}

const USAGE = `npm run bench -- [options]

  --rows=NAME,…         ${ROWS.join(', ')}; default: all but flat
  --ids=NAME,…          ${IDS.join(', ')}: the ids of the events in confirmed, embedded, batch and archive;
                        mixed: clients' ids, batches to /v1/batch and single events in turns; default: all
  --rounds=N            rounds of each program, in turns; default: 5
  --seconds=N           seconds of load in a round; default: 8
  --warm-up=N           seconds of load before the first round; default: 4
  --starts=N            starts of each program in the row start; default: 10
  --connections=N       default: 128
  --archive-events=N    events in the queue when an archiver starts; default: 300000, in ids and window 3000000,
                        in lake and erase 6000000, in beside 200000, in day 2000000,
                        in replay 600000
  --batch-events=N      BATCH_EVENTS_MAX of archivers; default: 10000, in ids and window 20000, in spread and far 1000
  --windows=N,…         ids in an archiver's index; default: in window 1000000,10000000,30000000,100000000,
                        in takeover 1000000,30000000
  --minutes=N           minutes that the row flat runs; default: 10
  --flat-rate=N         events a second in the row flat; default: 5000
  --set=NAME=VALUE      a setting of frequency; can be repeated
  --node-arg=ARGUMENT   an option of Node for frequency, like --cpu-prof; can be repeated
  --smoke               runs all rows for a moment, to see that the bench works
`

/** Returns undefined for `--help`, after it has printed the help. @throws Error that names the wrong option */
export function readOptions(args: readonly string[]): BenchOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      'warm-up': { type: 'string' },
      starts: { type: 'string' },
      connections: { type: 'string' },
      ids: { type: 'string' },
      windows: { type: 'string' },
      'archive-events': { type: 'string' },
      'batch-events': { type: 'string' },
      minutes: { type: 'string' },
      'flat-rate': { type: 'string' },
      set: { type: 'string', multiple: true, default: [] },
      'node-arg': { type: 'string', multiple: true, default: [] },
      smoke: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return undefined
  }
  const { smoke } = values
  const number = (name: Exclude<keyof typeof values, 'set' | 'node-arg'>, full: number, short = full) =>
    positive(name, values[name], smoke ? short : full)
  const given = (name: 'archive-events' | 'batch-events', fallback: number | undefined) =>
    values[name] === undefined ? fallback : positive(name, values[name], 0)
  return {
    rows: rowsOf(values.rows, smoke),
    rounds: number('rounds', 5, 1),
    seconds: number('seconds', 8, 1),
    warmUpSeconds: smoke ? 0 : number('warm-up', 4),
    waitsForQuiet: !smoke,
    starts: number('starts', 10, 1),
    connections: number('connections', 128),
    ids: idsOf(values.ids),
    archiveEvents: given('archive-events', smoke ? 4_000 : undefined),
    batchEvents: given('batch-events', smoke ? 500 : undefined),
    windows: values.windows?.split(',').map(each => positive('windows', each, 0)),
    isSmoke: smoke,
    batchAgeMs: smoke ? 200 : 1_000,
    minutes: number('minutes', 10, 0.05),
    flatRate: number('flat-rate', 5_000, 500),
    env: Object.fromEntries(values.set.map(assignment)),
    nodeArgs: values['node-arg'],
  }
}

function rowsOf(text: string | undefined, isSmoke: boolean): RowName[] {
  if (text === undefined) return ROWS.filter(row => isSmoke || row !== 'flat')
  const wanted = text.split(',')
  const unknown = wanted.find(name => !ROWS.some(row => row === name))
  if (unknown !== undefined)
    throw new Error(`--rows: there is no row "${unknown}". The rows are ${ROWS.join(', ')}.`)
  return ROWS.filter(row => wanted.includes(row))
}

function idsOf(text: string | undefined): Ids[] {
  const wanted = text?.split(',') ?? IDS
  const unknown = wanted.find(name => !IDS.some(each => each === name))
  if (unknown !== undefined) throw new Error(`--ids: "${unknown}" is not one of ${IDS.join(', ')}.`)
  return IDS.filter(each => wanted.some(name => name === each))
}

function positive(name: string, value: string | boolean | undefined, fallback: number): number {
  const number = value === undefined ? fallback : Number(value)
  if (!(number > 0)) throw new Error(`--${name}: "${value}" is not a number above 0.`)
  return number
}

function assignment(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1) throw new Error(`--set: "${text}" does not have the form NAME=VALUE.`)
  return [text.slice(0, at), text.slice(at + 1)]
}
