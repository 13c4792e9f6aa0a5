/**
 * Virtual time and random numbers of simulated processes. Importing this file replaces the timers, clocks and random
 * numbers of this Node process. Import it before the code that is to be simulated.
 *
 * The event loop is drained after each event, so everything that an event causes is done by its actor. So `current` is
 * the owner of each new timer, without an asynchronous context.
 * Outside of a simulation the originals are called.
 */

import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import timers from 'node:timers'
import timersPromises from 'node:timers/promises'
import type { Actor, ScheduledEvent, Simulation } from './simulation.ts'

export const real = {
  Date,
  now: performance.now.bind(performance),
  setTimeout,
  setImmediate,
}

let simulation: Simulation | undefined
let current: Actor | undefined

/** Enters or leaves a simulation. */
export function simulate(next: Simulation | undefined): void {
  simulation = next
  current = undefined
}

/** Sets the actor that runs from now on. */
export function actAs(actor: Actor | undefined): void {
  current = actor
}

export function currentActor(): Actor {
  if (current === undefined) throw new Error('Something acts outside of an event.')
  return current
}

type Callback = (...args: unknown[]) => unknown

/** What `setTimeout` returns. */
class VirtualTimer {
  readonly #sim: Simulation
  readonly #actor: Actor
  readonly #callback: () => unknown
  readonly #ms: number
  readonly #repeats: boolean
  #event: ScheduledEvent | undefined

  constructor(sim: Simulation, actor: Actor, callback: () => unknown, ms: number, repeats: boolean) {
    this.#sim = sim
    this.#actor = actor
    this.#callback = callback
    this.#ms = Number.isNaN(ms) ? 1 : Math.max(ms, 1)
    this.#repeats = repeats
    this.refresh()
  }

  refresh(): this {
    this.close()
    this.#event = this.#sim.after(this.#ms, this.#actor, 'timer', () => {
      if (this.#repeats) this.refresh()
      this.#callback()
    })
    return this
  }

  close(): this {
    if (this.#event !== undefined) this.#event.isCancelled = true
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return true
  }

  [Symbol.toPrimitive](): number {
    throw new Error('A timer is used as a number, which is not simulated.')
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function timerOf(
  callback: Callback,
  ms: number | undefined,
  args: unknown[],
  repeats: boolean,
): VirtualTimer {
  return new VirtualTimer(
    simulation as Simulation,
    currentActor(),
    () => callback(...args),
    Number(ms),
    repeats,
  )
}

function clear(timer: unknown, original: (timer: never) => void): void {
  if (timer instanceof VirtualTimer) timer.close()
  else original(timer as never)
}

const originals = {
  setTimeout,
  setInterval,
  setImmediate,
  clearTimeout,
  clearInterval,
  clearImmediate,
  delay: timersPromises.setTimeout,
  immediate: timersPromises.setImmediate,
  performanceNow: performance.now.bind(performance),
  abortTimeout: AbortSignal.timeout.bind(AbortSignal),
  random: Math.random.bind(Math),
  randomBytes: crypto.randomBytes.bind(crypto),
  randomInt: crypto.randomInt.bind(crypto),
  randomUUID: crypto.randomUUID.bind(crypto),
  getRandomValues: crypto.webcrypto.getRandomValues.bind(crypto.webcrypto),
}

class VirtualDate extends Date {
  constructor(...args: [] | ConstructorParameters<typeof Date>) {
    if (args.length === 0) super(VirtualDate.now())
    else super(...args)
  }

  static override now(): number {
    return simulation === undefined || current === undefined ? real.Date.now() : simulation.wallClock(current)
  }
}

function virtualDelay(
  ms?: number,
  value?: unknown,
  options: { signal?: AbortSignal } = {},
): Promise<unknown> {
  if (simulation === undefined) return originals.delay(ms, value, options)
  const { signal } = options
  return new Promise((resolve, reject) => {
    const abort = () => {
      timer.close()
      reject(
        Object.assign(new Error('The operation was aborted'), {
          name: 'AbortError',
          code: 'ABORT_ERR',
          cause: signal?.reason,
        }),
      )
    }
    const timer = timerOf(
      () => {
        signal?.removeEventListener('abort', abort)
        resolve(value)
      },
      ms,
      [],
      false,
    )
    if (signal?.aborted) abort()
    else signal?.addEventListener('abort', abort, { once: true })
  })
}

function virtualAbortTimeout(ms: number): AbortSignal {
  if (simulation === undefined) return originals.abortTimeout(ms)
  const controller = new AbortController()
  timerOf(
    () => controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
    ms,
    [],
    false,
  )
  return controller.signal
}

function virtualBytes(
  size: number,
  callback?: (error: Error | null, bytes: Buffer) => void,
): Buffer | undefined {
  if (simulation === undefined)
    return callback ? void originals.randomBytes(size, callback) : originals.randomBytes(size)
  const bytes = currentActor().bytes(size)
  if (callback === undefined) return bytes
  process.nextTick(callback, null, bytes)
  return undefined
}

function virtualInt(...args: number[]): number {
  const [min, max] = args.length === 1 ? [0, args[0] as number] : [args[0] as number, args[1] as number]
  return simulation === undefined
    ? originals.randomInt(min, max)
    : currentActor().random.between(min, max - 1)
}

function virtualUUID(): string {
  if (simulation === undefined) return originals.randomUUID()
  const bytes = currentActor().bytes(16)
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

function virtualValues<T extends NodeJS.ArrayBufferView>(array: T): T {
  if (simulation === undefined) return originals.getRandomValues(array as never) as unknown as T
  currentActor()
    .bytes(array.byteLength)
    .copy(Buffer.from(array.buffer, array.byteOffset, array.byteLength))
  return array
}

function install(): void {
  const virtual = {
    setTimeout: (callback: Callback, ms?: number, ...args: unknown[]) =>
      simulation === undefined
        ? originals.setTimeout(callback, ms, ...args)
        : timerOf(callback, ms, args, false),
    setInterval: (callback: Callback, ms?: number, ...args: unknown[]) =>
      simulation === undefined
        ? originals.setInterval(callback, ms, ...args)
        : timerOf(callback, ms, args, true),
    setImmediate: (callback: Callback, ...args: unknown[]) =>
      simulation === undefined
        ? originals.setImmediate(callback, ...args)
        : simulation.immediate(() => callback(...args)),
    clearTimeout: (timer: unknown) => clear(timer, originals.clearTimeout),
    clearInterval: (timer: unknown) => clear(timer, originals.clearInterval),
    clearImmediate: (timer: unknown) => {
      if (simulation === undefined) originals.clearImmediate(timer as never)
      else simulation.clearImmediate(timer)
    },
  }
  Object.assign(globalThis, virtual, { Date: VirtualDate })
  Object.assign(timers, virtual)
  Object.assign(timersPromises, {
    setTimeout: virtualDelay,
    setImmediate: (value?: unknown) =>
      simulation === undefined
        ? originals.immediate(value)
        : new Promise(resolve => simulation?.immediate(() => resolve(value))),
  })
  Object.assign(performance, {
    now: () => (simulation === undefined ? originals.performanceNow() : simulation.elapsedMs),
  })
  Object.assign(AbortSignal, { timeout: virtualAbortTimeout })
  Object.assign(Math, {
    random: () => (simulation === undefined ? originals.random() : currentActor().random.next()),
  })
  Object.assign(crypto, { randomBytes: virtualBytes, randomInt: virtualInt, randomUUID: virtualUUID })
  Object.assign(crypto.webcrypto, { getRandomValues: virtualValues, randomUUID: virtualUUID })
  syncBuiltinESMExports()
}

install()
