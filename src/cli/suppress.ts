/** The part of `frequency erase` that lets events of users be dropped from now on. */

import { ConfigInvalid } from '../errors.ts'
import type { ObjectStore } from '../store/store.ts'
import { type SuppressedId, SuppressionList } from '../suppression/suppression-list.ts'
import { many } from './verify/report.ts'

/** Of one command, if they come from a condition: a wrong one must not silence everybody. */
export const USERS_MAX = 100

export interface SuppressFlags {
  readonly suppress?: boolean
  readonly unsuppress?: boolean
  readonly userId?: readonly string[]
  readonly anonymousId?: readonly string[]
}

/** The ids that flags name. @throws ConfigInvalid if flags contradict each other */
export function namedIds({
  suppress,
  unsuppress,
  userId = [],
  anonymousId = [],
}: SuppressFlags): SuppressedId[] {
  const ids: SuppressedId[] = [
    ...userId.map(id => ({ kind: 'user' as const, id })),
    ...anonymousId.map(id => ({ kind: 'anonymous' as const, id })),
  ]
  if (suppress === true && unsuppress === true)
    throw new ConfigInvalid('--suppress and --unsuppress exclude each other.')
  if (unsuppress === true && ids.length === 0)
    throw new ConfigInvalid(
      '--unsuppress needs --user-id or --anonymous-id: the list does not say who is in it.',
    )
  if (ids.length > 0 && suppress !== true && unsuppress !== true)
    throw new ConfigInvalid(
      '--user-id and --anonymous-id need --suppress or --unsuppress. Events to erase are chosen by --where.',
    )
  return ids
}

/** The ids to suppress: those that are named, else those of the events. @throws ConfigInvalid if they are too many */
export function idsToSuppress(
  named: readonly SuppressedId[],
  users: readonly string[],
): readonly SuppressedId[] {
  if (named.length > 0) return named
  if (users.length > USERS_MAX)
    throw new ConfigInvalid(
      `--suppress: the events have more than ${USERS_MAX} different user ids. Name those to suppress with --user-id. Nothing was changed.`,
    )
  return users.map(id => ({ kind: 'user', id }))
}

export async function suppress(
  store: ObjectStore,
  prefix: string,
  ids: readonly SuppressedId[],
): Promise<string> {
  await new SuppressionList(store, prefix).add(store, ids)
  return `Archivers drop events of ${many(ids.length, 'id')} from now on; each knows it within a minute.\n`
}

export async function unsuppress(
  store: ObjectStore,
  prefix: string,
  ids: readonly SuppressedId[],
): Promise<string> {
  const removed = await new SuppressionList(store, prefix).remove(store, ids)
  return `${many(removed, 'id')} of ${ids.length} were in the list, and were removed. Archivers know it within a minute.\n`
}
