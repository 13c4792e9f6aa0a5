import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { test } from 'tap'
import { awsSettings } from '../../../src/config/aws-settings.ts'
import { readConfig, settings } from '../../../src/config/config.ts'
import { envExample, readmeWithTables } from '../../documented-settings.ts'
import { configOf } from '../../helpers/helper.ts'

const OUTDATED = 'run `npm run settings`'

function topLevelFile(name: string): string {
  return readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')
}

test('.env.example is current', async t => {
  t.equal(topLevelFile('.env.example'), envExample(), OUTDATED)
})

test("the README's tables are current", async t => {
  const readme = topLevelFile('README.md')
  t.equal(readme, readmeWithTables(readme), OUTDATED)
  for (const { variable } of [...settings, ...awsSettings]) t.match(readme, `| \`${variable}\` |`)
  t.throws(() => readmeWithTables(readme.replace('<!-- end of settings -->', '')), /needs one/)
})

test('.env.example can be copied as it is, and its defaults are the defaults', async t => {
  const text = topLevelFile('.env.example')
  t.same(parseEnv(text), {})
  const uncommented = parseEnv(text.replaceAll(/^#(?! )/gm, ''))
  t.equal(Object.keys(uncommented).length, settings.length + awsSettings.length)
  t.same(readConfig({}, uncommented), configOf())
})
