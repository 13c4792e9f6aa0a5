/** Which events are of suppressed users, by a list in the archive. */
import t, { type Test } from 'tap'
import { SuppressedUsers } from '../../../src/suppression/suppressed-users.ts'
import { type SuppressedId, SuppressionList } from '../../../src/suppression/suppression-list.ts'
import { openArchive, storeWith } from '../../helpers/archive-by-hand.ts'
import { range, silent } from '../../helpers/helper.ts'

const IDS: readonly SuppressedId[] = [
  { kind: 'user', id: '42' },
  { kind: 'user', id: 'é"日' },
  { kind: 'anonymous', id: 'a-1' },
]

async function opened(t: Test) {
  const { store, prefix } = await openArchive(t, 'directory')
  const list = new SuppressionList(store, prefix)
  const users = new SuppressedUsers(store, prefix, silent)
  const has = (json: string): boolean => users.has(Buffer.from(json))
  return { store, prefix, list, users, has }
}

t.test('an event is of a user by any member, and in any writing', async t => {
  const { store, list, users, has } = await opened(t)
  await users.refresh()
  t.notOk(has('{"userId":"42"}'), 'the list is empty')
  await list.add(store, IDS)
  await users.refresh()
  t.equal(users.size, 3)
  const of = [
    '{"userId":"42"}',
    '{"a":1,"user_id":42}',
    '{"user_id":"\\u00e9\\"日"}',
    '{"user\\u005fid":"4\\u0032"}',
  ]
  for (const json of [...of, '{"anonymousId":"a-1"}', '{"userId":"1","anonymous_id":"a-1"}'])
    t.ok(has(json), json)
  const others = [
    '{"userId":"a-1"}',
    '{"anonymousId":"42"}',
    '{"userId":"420"}',
    '{"properties":{"userId":"42"}}',
  ]
  for (const json of [...others, '{}', '{"userId":null}', '{"userId":{"id":"42"}}']) t.notOk(has(json), json)
  t.equal(await list.remove(store, [IDS[0] as SuppressedId, { kind: 'user', id: 'x' }]), 1)
  await users.refresh()
  t.notOk(has('{"userId":"42"}'), 'and is not any more')
})

t.test('the list names nobody, and ids that are added at once are kept', async t => {
  const { store, prefix, list } = await opened(t)
  await Promise.all(range(5).map(n => list.add(store, [{ kind: 'user', id: `somebody-${n}` }])))
  t.equal((await list.digests()).size, 5)
  for await (const key of store.list(`${prefix}/`)) {
    const { object } = await store.read(key)
    t.notOk(key.includes('somebody') || object?.body.includes('somebody'))
  }
})

t.test('a list that cannot be read stays as it was', async t => {
  const { store, prefix, list } = await opened(t)
  await list.add(store, IDS)
  let isAway = false
  const users = new SuppressedUsers(
    storeWith(store, {
      list: below => {
        if (isAway) throw new Error('away')
        return store.list(below)
      },
    }),
    prefix,
    silent,
  )
  await users.refresh()
  isAway = true
  await t.rejects(users.refresh(), /away/)
  t.ok(users.has(Buffer.from('{"userId":"42"}')))
})
