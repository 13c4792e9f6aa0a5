import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { test } from 'tap'
import { awsSettings } from '../../../src/config/aws-settings.ts'
import { readConfig, settings } from '../../../src/config/config.ts'
import { envExample, withTables } from '../../documented-settings.ts'
import { configOf } from '../../helpers/helper.ts'

const OUTDATED = 'run `npm run settings`'

function topLevelFile(name: string): string {
  return readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')
}

test('.env.example is current', async t => {
  t.equal(topLevelFile('.env.example'), envExample(), OUTDATED)
})

test('the tables of docs/settings.md are current', async t => {
  const document = topLevelFile('docs/settings.md')
  t.equal(document, withTables(document), OUTDATED)
  for (const { variable } of [...settings, ...awsSettings]) t.match(document, `| \`${variable}\` |`)
  t.throws(() => withTables(document.replace('<!-- end of settings -->', '')), /needs one/)
})

test('.env.example can be copied as it is, and its defaults are the defaults', async t => {
  const text = topLevelFile('.env.example')
  t.same(parseEnv(text), {})
  const uncommented = parseEnv(text.replaceAll(/^#(?! )/gm, ''))
  t.equal(Object.keys(uncommented).length, settings.length + awsSettings.length)
  t.same(readConfig({}, uncommented), configOf())
})
