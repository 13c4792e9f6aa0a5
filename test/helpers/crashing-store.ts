import type { ObjectStore } from '../../src/store/store.ts'
import { storeWith } from './archive-by-hand.ts'

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
  return storeWith(store, {
    create: (key, body) => crash(() => store.create(key, body)),
    replace: (key, body) => crash(() => store.replace(key, body)),
    put: (key, body) => crash(() => store.put(key, body)),
    move: (from, to) => crash(() => store.move(from, to)),
    moveAll: moves => crash(() => store.moveAll(moves)),
    remove: keys => crash(() => (keys.length === 0 ? Promise.resolve() : store.remove(keys))),
  })
}
