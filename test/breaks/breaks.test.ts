/** Checks that the list of breaks matches the code. `npm run test:breaks` checks that tests notice them. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { applied } from './break.ts'
import { BREAKS } from './breaks.ts'
import { ROOT } from './tree.ts'

t.test('each text occurs once in its file', async t => {
  for (const each of BREAKS) {
    const content = readFileSync(join(ROOT, each.file), 'utf8')
    t.doesNotThrow(() => applied(each, content), each.name)
    t.not(each.replacement, each.text, each.name)
  }
})

t.test('each break has a unique name, and its test files exist', async t => {
  t.equal(new Set(BREAKS.map(({ name }) => name)).size, BREAKS.length)
  for (const { name, checks } of BREAKS) {
    t.ok(checks.length > 0, name)
    for (const check of checks) if (typeof check === 'string') t.ok(existsSync(join(ROOT, check)), check)
  }
})

t.test('a text that occurs twice or never is refused, and so is a result that is not a program', async t => {
  const each = { name: 'x', promise: '', file: 'f', text: 'ab', replacement: '"$&"', checks: [] }
  t.equal(applied(each, 'x = ab + 1'), 'x = "$&" + 1')
  t.throws(() => applied(each, 'ab ab'), /occurs 2 times in f/)
  t.throws(() => applied(each, 'a'), /occurs 0 times in f/)
  t.throws(() => applied({ ...each, replacement: '' }, 'if (true) { for (;;) ab }'), /Unexpected "}"/)
})
