import { hash } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Config } from '../config/config.ts'
import { ConfigInvalid, ReplayStopped } from '../errors.ts'
import { type DirectoryLock, holderOf, lockOwnDirectory } from '../process/directory-lock.ts'
import type { TimeRange } from '../query/archive-batches.ts'
import { archiveSources } from '../query/event-sources.ts'
import { parseMoment } from '../query/time-range.ts'
import { type Beginning, beginning, resumption } from '../replay/begin.ts'
import { Checkpoint, type ReplayState } from '../replay/checkpoint.ts'
import { LinesFile } from '../replay/file-target.ts'
import { Replay } from '../replay/replay.ts'
import { SliceReader } from '../replay/slice-reader.ts'
import { snapshotOf } from '../replay/snapshot.ts'
import { openStoreReader } from '../store/open-store.ts'
import type { StoreReader } from '../store/store.ts'
import { escapeControls } from './escape-controls.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { interruptible } from './interruptible.ts'
import { assertUsed } from './open-existing.ts'
import { showProgress } from './progress-line.ts'
import { sessionSettings } from './query.ts'
import { openTarget, replayConfig } from './replay/open-target.ts'
import { type ReplayFlags, type ReplayOptions, replayOptions } from './replay/options.ts'
import { progressText } from './replay/progress.ts'
import { alreadyDone, dedupeNote, ending, eventsOf, whatIsSent } from './replay/words.ts'
import { grouped, many } from './verify/report.ts'

const REMOVAL = { recursive: true, force: true, maxRetries: 5, retryDelay: 20 } as const

interface Run {
  readonly flags: ReplayFlags
  readonly options: ReplayOptions
  readonly env: NodeJS.ProcessEnv
  readonly config: Config
  readonly store: StoreReader
  /** Of what is sent, from where, to where. */
  readonly id: string
  /** For files that are of no use after the run. It is locked. */
  readonly directory: string
  /** Undefined for standard output. */
  readonly checkpointPath: string | undefined
  readonly signal: AbortSignal
  /** Lines to say at the end, after an error. */
  readonly remarks: string[]
}

/**
 * Sends events of the archive again.
 *
 * @param outputClosed is aborted when standard output is closed
 * @returns the exit code: 0 if all was sent, 1 if it failed or was refused, 2 if the archive could not be read, 130 if it
 * was interrupted
 */
export async function replay(
  flags: ReplayFlags,
  env: NodeJS.ProcessEnv,
  outputClosed: AbortSignal,
): Promise<number> {
  const remarks: string[] = []
  // The checkpoint is on disk: a second signal loses nothing.
  const options = { outputClosed, note: '', endsAtSecondSignal: true }
  const code = await interruptible(async signal => {
    const options = await replayOptions(flags)
    const config = replayConfig(options.destination, flags, env)
    const store = await openStoreReader(config)
    try {
      await assertUsed(store, config)
      await inDirectory({ flags, options, env, config, store, signal, remarks })
    } finally {
      await store.close()
    }
    return EXIT_CODES.done
  }, options)
  for (const remark of remarks) say(remark)
  return code
}

/** Takes the directory of the run, so that no other process runs the same replay. */
async function inDirectory(parts: Omit<Run, 'id' | 'directory' | 'checkpointPath'>): Promise<void> {
  const { flags, options, config } = parts
  const id = idOf(config, options, flags)
  const path = resolve(flags.checkpoint ?? join(config.dataDir, 'replay', id))
  const directory = `${path}.${flags.dryRun ? 'dry' : 'run'}`
  const lock = await locked(directory, flags)
  try {
    for (const name of await readdir(directory))
      if (name.endsWith('.ndjson')) await rm(join(directory, name), REMOVAL)
    const checkpointPath = options.destination.kind === 'stdout' ? undefined : path
    await decide({ ...parts, id, directory, checkpointPath })
  } finally {
    await rm(directory, REMOVAL).catch(() => {})
    await lock.release()
  }
}

async function locked(directory: string, { checkpoint }: ReplayFlags): Promise<DirectoryLock> {
  const lock = await lockOwnDirectory(directory).catch(error => {
    if (checkpoint === undefined || !(error instanceof ConfigInvalid)) throw error
    throw new ConfigInvalid(error.message.replace(/^DATA_DIR\b/, '--checkpoint'), { cause: error })
  })
  if (lock !== undefined) return lock
  throw new ReplayStopped(
    `This replay runs already (${await holderOf(directory)}). Wait for it, or stop it: this command then goes on.`,
  )
}

async function decide(run: Run): Promise<void> {
  const { flags, options, checkpointPath } = run
  const found = await stateOf(run)
  if (found?.isDone) {
    say(alreadyDone(found))
    return
  }
  const begun = await begin(run, found)
  const reader = readerOf(run, begun)
  run.signal.addEventListener('abort', () => reader.stop())
  if (flags.dryRun) {
    const count = flags.where === undefined ? undefined : await countOf(reader, begun)
    process.stdout.write(
      `${escapeControls(whatIsSent('Would send', begun, options.destination, count))}${found ? ` An earlier run has sent ${grouped(found.sent)} of them.` : ''}\n${dedupeNote(options.destination)}`,
    )
    return
  }
  if (found === undefined && checkpointPath !== undefined) await rm(checkpointPath, { force: true })
  say(whatIsSent('Sends', begun, options.destination, undefined))
  if (found !== undefined) say(`Goes on after ${many(found.sent + found.skipped, 'event')}.`)
  process.stderr.write(dedupeNote(options.destination))
  await send(run, begun, reader, found !== undefined)
}

async function begin({ flags, store, config, id }: Run, found: ReplayState | undefined): Promise<Beginning> {
  const { prefix } = config.archive
  const range = found?.range ?? rangeOf(flags)
  const sources = await archiveSources(store, prefix)
  const snapshot = await snapshotOf(store, prefix, range, found?.snapshot.record)
  return found === undefined ? beginning(id, sources, snapshot, range) : resumption(found, sources, snapshot)
}

/** Of an earlier run. Undefined if there was none, or it does not count. */
async function stateOf({ flags, checkpointPath, id }: Run): Promise<ReplayState | undefined> {
  if (checkpointPath === undefined || flags.restart) return undefined
  const state = await Checkpoint.read(checkpointPath)
  if (state !== undefined && state.id !== id)
    throw new ReplayStopped(
      `${checkpointPath} is of another replay: of another archive, target, --since, --until or --where. Name another file, or begin again with --restart.`,
    )
  return state
}

async function countOf(reader: SliceReader, { slices }: Beginning): Promise<number> {
  let events = 0
  for (const slice of slices) events += await reader.count(slice)
  return events
}

/** @param isResumed an earlier run has begun it */
async function send(run: Run, begun: Beginning, reader: SliceReader, isResumed: boolean): Promise<void> {
  const { flags, options, env, checkpointPath, signal } = run
  const { state, slices, sources } = begun
  // A run that was killed before its first checkpoint has written what the checkpoint does not say.
  const mayReplace = flags.restart === true || isResumed
  const skipped =
    flags.skipRefused === undefined
      ? undefined
      : await LinesFile.open('--skip-refused', flags.skipRefused, state.skippedBytes, mayReplace)
  const target = await openTarget(options, flags, env, { state, mayReplace }, reason =>
    say(`${reason}. Trying again.`),
  )
  const synced = async (): Promise<void> => {
    await target.sync?.()
    await skipped?.sync()
  }
  const checkpoint =
    checkpointPath === undefined ? undefined : await Checkpoint.open(checkpointPath, state, synced)
  const isAll = state.range.since === undefined && state.range.until === undefined
  const events = isAll ? eventsOf(sources) : undefined
  const parts = { reader, target, state, slices, events, checkpoint, skipped, rate: options.rate, signal }
  const replay = new Replay(parts)
  const left = slices.reduce((sum, slice) => sum + slice.events, 0)
  const progress = () => ({
    sent: replay.state.sent,
    share: Math.min(1, replay.progress / Math.max(1, left)),
  })
  const start = progress()
  const startMs = performance.now()
  const stopProgress = showProgress(flags.progress, () =>
    progressText(start, progress(), (performance.now() - startMs) / 1_000),
  )
  try {
    await replay.run()
  } finally {
    stopProgress()
    await checkpoint?.close()
    await target.close()
    await skipped?.close()
    const seconds = (performance.now() - startMs) / 1_000
    run.remarks.push(ending(replay.state, seconds, flags.skipRefused, checkpoint !== undefined))
  }
}

function readerOf({ store, config, directory, flags: { where } }: Run, { sources }: Beginning): SliceReader {
  return new SliceReader({ store, settings: sessionSettings(config), sources, where, directory })
}

function rangeOf({ since, until }: ReplayFlags): TimeRange {
  const now = Date.now()
  return {
    since: since === undefined ? undefined : parseMoment('--since', since, now),
    until: until === undefined ? undefined : parseMoment('--until', until, now),
  }
}

/** The same for the same events of the same archive to the same target. */
function idOf(config: Config, { destination }: ReplayOptions, flags: ReplayFlags): string {
  const { since, until, where } = flags
  const queue = destination.kind === 'queue' ? [config.amqpUrl, config.amqpQueue, config.dataDir] : []
  return hash('sha256', JSON.stringify([config.archive, destination, queue, since, until, where])).slice(
    0,
    16,
  )
}

/** Writes a line to standard error. */
function say(line: string): void {
  process.stderr.write(`${escapeControls(line)}\n`)
}
