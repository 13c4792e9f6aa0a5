import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parseWriteKeys } from '../../../src/config/write-key-list.ts'
import { ConfigInvalid } from '../../../src/errors.ts'
import { openWriteKeys, WriteKeys } from '../../../src/http/known-keys.ts'
import { configOf, silent, temporaryDirectory } from '../../helpers/helper.ts'
import { until } from '../../services/wait.ts'

const READ_MS_MAX = 30_000

function nameOf(keys: WriteKeys | undefined, key: string): string | undefined {
  return keys?.sourceOf(key)?.name
}

test('keys are read from a text', async t => {
  const sources = parseWriteKeys(
    'web:browser=k1, api=k2,app.ios:server=k3\n# old=k4\r\n  web:browser=a/b+c==\n\njitsu=id:secret',
    'X',
  )
  t.strictSame(
    [...sources].map(([key, { name, kind }]) => [key, name, kind]),
    [
      ['k1', 'web', 'browser'],
      ['k2', 'api', 'server'],
      ['k3', 'app.ios', 'server'],
      ['a/b+c==', 'web', 'browser'],
      ['id:secret', 'jitsu', 'server'],
    ],
  )
})

test('a # behind a space begins a comment, and one in a key does not', async t => {
  const sources = parseWriteKeys('  # all, web=k0\nweb=k#1 # old: web=k0, k9\napi=#2\t#, x=y\n#', 'X')
  t.strictSame(
    [...sources].map(([key, { name }]) => [key, name]),
    [
      ['k#1', 'web'],
      ['#2', 'api'],
    ],
  )
})

test('an invalid key is refused, in one line that does not show it', async t => {
  const key = 'hunter2'
  const wrong = [
    key,
    `=${key}`,
    'web=',
    `web:mobile=${key}`,
    `we b=${key}`,
    `web=${key} ${key}`,
    `web=${key}ü`,
    `web=${key.repeat(40)}`,
    `ok=1,web=${key},api=${key}`,
    '# nothing',
    ' , ',
  ]
  for (const text of wrong) {
    t.throws(
      () => parseWriteKeys(text, 'WRITE_KEYS'),
      { code: 'FRQ_CONFIG_INVALID', message: /^WRITE_KEYS\b.*\.$/ },
      text,
    )
    t.throws(() => configOf({ WRITE_KEYS: text }), ConfigInvalid)
    try {
      parseWriteKeys(text, 'WRITE_KEYS')
    } catch (error) {
      t.notMatch([String(error), (error as Error).stack, JSON.stringify(error)].join(), key)
    }
  }
  t.throws(() => configOf({ WRITE_KEYS: 'a=1', WRITE_KEYS_FILE: 'x' }), { message: /both/ })
})

test('a key is known only with all of its characters', async t => {
  const keys = new WriteKeys(parseWriteKeys('web:browser=Abcdef12,api=Zbcdef12', 'X'))
  t.match(keys.sourceOf('Abcdef12'), { name: 'web', kind: 'browser' })
  t.match(keys.sourceOf('Zbcdef12'), { name: 'api', kind: 'server' })
  for (const key of ['', 'abcdef12', 'Abcdef1', 'Abcdef123', ' Abcdef12', 'web', '__proto__', 'constructor'])
    t.equal(keys.sourceOf(key), undefined, key)
})

test('a key file is read again after any kind of change; an invalid file changes nothing', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'keys')
  writeFileSync(path, 'web:browser=one\n')
  const keys = await openWriteKeys({ writeKeysFile: path }, silent)
  t.teardown(() => keys?.close())
  t.equal(nameOf(keys, 'one'), 'web')

  writeFileSync(path, 'web:browser=one\napi=two\n')
  await until('the new key is known', READ_MS_MAX, () => nameOf(keys, 'two') === 'api')
  t.equal(nameOf(keys, 'one'), 'web')

  // The same length, and renamed over the other file.
  writeFileSync(`${path}.new`, 'web:browser=six\napi=two\n')
  renameSync(`${path}.new`, path)
  await until('the key is replaced', READ_MS_MAX, () => nameOf(keys, 'six') === 'web')
  t.equal(nameOf(keys, 'one'), undefined)

  // As a cluster mounts secrets: the path is the same, but its symbolic link has another target.
  for (const [name, key] of [
    ['a', 'red'],
    ['b', 'ten'],
  ])
    writeFileSync(join(directory, String(name)), `web=${key}\n`)
  symlinkSync('a', `${path}.link`)
  renameSync(`${path}.link`, path)
  await until('the link is followed', READ_MS_MAX, () => nameOf(keys, 'red') === 'web')
  symlinkSync('b', `${path}.link`)
  renameSync(`${path}.link`, path)
  await until('the new link is followed', READ_MS_MAX, () => nameOf(keys, 'ten') === 'web')

  for (const spoil of [
    () => writeFileSync(path, ''),
    () => writeFileSync(path, 'nonsense'),
    () => rmSync(path),
  ]) {
    const logged = errorsOf(t)
    const followed = await openWriteKeys({ writeKeysFile: path }, logged.log)
    spoil()
    await until('it is logged', READ_MS_MAX, () => logged.messages.length > 0)
    t.equal(nameOf(followed, 'ten'), 'web', 'the keys have not changed')
    followed?.close()
    writeFileSync(path, 'web=ten')
  }
})

function errorsOf(t: { comment(message: string): void }) {
  const messages: string[] = []
  const error = (_: unknown, message: string) => {
    messages.push(message)
    t.comment(message)
  }
  return { messages, log: Object.assign(Object.create(silent), { error }) as typeof silent }
}

test('with a missing key file, or one without keys, the process does not start', async t => {
  const path = join(temporaryDirectory(t), 'keys')
  await t.rejects(openWriteKeys({ writeKeysFile: path }, silent), {
    code: 'FRQ_CONFIG_INVALID',
    message: /^WRITE_KEYS_FILE: .*ENOENT/,
  })
  writeFileSync(path, '# web=one\n')
  await t.rejects(openWriteKeys({ writeKeysFile: path }, silent), {
    code: 'FRQ_CONFIG_INVALID',
    message: /no key/,
  })
})

test('without settings there are no keys', async t => {
  t.equal(await openWriteKeys({}, silent), undefined)
})
