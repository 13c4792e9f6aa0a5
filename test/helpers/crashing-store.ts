/** Stores of processes that are killed at a certain write. */
import type { ObjectStore } from '../../src/store/store.ts'
import { storeWith } from './archive-by-hand.ts'

/** Most writes between two crashes of a test run. With TEST_EVERY_CRASH=1 a run crashes at each write. */
const STEP_MAX = process.env.TEST_EVERY_CRASH === '1' ? 1 : 4

/** How many writes later the next crash is: chosen at random, so that runs together crash at each write. */
export function nextCrash(): number {
  return 1 + Math.floor(Math.random() * STEP_MAX)
}

/** A store of a process that is killed after `at` writes: later ones have no effect, and no end. */
export function killedStore(
  store: ObjectStore,
  at: number,
): { readonly store: ObjectStore; readonly killed: Promise<'killed'> } {
  let writes = 0
  let kill = (_: 'killed'): void => {}
  const killed = new Promise<'killed'>(resolve => {
    kill = resolve
  })
  const write = <T>(effect: () => Promise<T>): Promise<T> => {
    if (++writes <= at) return effect()
    kill('killed')
    return new Promise(() => {})
  }
  return { store: writing(store, write), killed }
}

/**
 * A store whose `at`th write fails, with or without effect, and all later ones.
 *
 * @param crashed called at each failure
 */
export function crashingStore(
  store: ObjectStore,
  at: number,
  when: 'before' | 'after',
  crashed: () => void = () => {},
): ObjectStore {
  let writes = 0
  const fail = (): never => {
    crashed()
    throw new Error('crashed')
  }
  const crash = async <T>(write: () => Promise<T>): Promise<T> => {
    writes++
    if (writes > at || (writes === at && when === 'before')) fail()
    const result = await write()
    if (writes >= at) fail()
    return result
  }
  return writing(store, crash)
}

function writing(store: ObjectStore, write: <T>(effect: () => Promise<T>) => Promise<T>): ObjectStore {
  return storeWith(store, {
    create: (key, body) => write(() => store.create(key, body)),
    replace: (key, body) => write(() => store.replace(key, body)),
    put: (key, body) => write(() => store.put(key, body)),
    move: (from, to) => write(() => store.move(from, to)),
    moveAll: async moves => {
      const outcomes: ('moved' | 'gone')[] = []
      for (const { from, to } of moves) outcomes.push(await write(() => store.move(from, to)))
      return outcomes
    },
    remove: keys => (keys.length === 0 ? Promise.resolve() : write(() => store.remove(keys))),
  })
}
