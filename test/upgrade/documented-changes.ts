/** Compares settings and metrics of both versions with what docs/upgrading.md says of them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { ROOT } from '../services/program.ts'
import { Site, type Versions } from './site.ts'

/** Only the text of these defaults has changed. */
const REWORDED = ['CORS_ORIGINS']
/** The default in the help of 0.1 is a number of milliseconds. */
const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

export async function documentedChanges(t: Test, versions: Versions): Promise<void> {
  const page = readFileSync(join(ROOT, 'docs/upgrading.md'), 'utf8')
  await t.test('settings are as docs/upgrading.md says', async t => {
    const site = new Site(t, versions, {})
    const [former, present] = await Promise.all([defaultsOf(site, 'former'), defaultsOf(site, 'present')])
    t.ok(former.size > 40, `${former.size} settings`)
    t.same(missingFrom(present, former), [], 'none is gone')
    const [, added = ''] = /^New: (.*?)\. A variable/m.exec(page) ?? []
    t.same(
      missingFrom(former, present).sort(),
      added.replaceAll('`', '').split(', '),
      'all new ones are named',
    )
    const changed = [...former].filter(([name, value]) => present.get(name) !== value).map(([name]) => name)
    const named = changed.filter(name => !REWORDED.includes(name))
    for (const name of named) t.match(page, new RegExp(`^\\| \`${name}\` \\|.*default`, 'm'), name)
  })

  await t.test('metrics of 0.1 are there', async t => {
    const site = new Site(t, versions, {})
    const former = await metricsOf(site, 'former', 'data-former')
    const present = await metricsOf(site, 'present', 'data-present')
    t.ok(former.size > 20, `${former.size} metrics`)
    t.same(missingFrom(present, former), [], 'none is gone, and none has lost a label')
    for (const name of missingFrom(former, present)) {
      const [, stem = '', rest = name] = /^(frequency_log_)(\w+)$/.exec(withoutLabels(name)) ?? []
      t.ok(page.includes(`\`${stem}\``) || stem === '', stem)
      t.ok(page.includes(`\`${withoutLabels(rest)}\``), `${name} is named`)
    }
  })
}

function missingFrom(these: { has(name: string): boolean }, those: { keys(): Iterable<string> }): string[] {
  return [...those.keys()].filter(name => !these.has(name))
}

/** The defaults by the names of the variables, as `serve --help` shows them. */
async function defaultsOf(site: Site, version: keyof Versions): Promise<Map<string, string>> {
  const { output } = await site.command(version, ['serve', '--help'])
  const options = output.split(/^ {2}(?=--)/m).slice(1)
  return new Map(
    options.map(option => {
      const text = option.replace(/\s+/g, ' ')
      const [, flag = ''] = /^--([a-z0-9-]+)/.exec(text) ?? []
      const [, value = ''] = /Default: (.*?)\.?(?: -h, --help.*)?$/.exec(text.trim()) ?? []
      const name = flag.replaceAll('-', '_').toUpperCase()
      return [name, name.endsWith('_MS') || name.endsWith('_MS_MAX') ? milliseconds(value) : value]
    }),
  )
}

function milliseconds(text: string): string {
  const [, number = '', unit = 'ms'] = /^(\d+)(ms|s|m|h)?$/.exec(text) ?? []
  return number === '' ? text : String(Number(number) * (UNIT_MS[unit] ?? 1))
}

/** The names of metrics, each with the names of its labels. */
async function metricsOf(site: Site, version: keyof Versions, dataDir: string): Promise<Set<string>> {
  const server = site.serve(version, { DATA_DIR: dataDir })
  const text = await (await fetch(`${await server.listening()}/metrics`)).text()
  await server.stop()
  const samples = text.split('\n').filter(line => line.startsWith('frequency_'))
  return new Set(
    samples.map(sample => {
      const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})? /.exec(sample) ?? []
      const labelNames = Array.from(labels.matchAll(/(\w+)="/g), ([, label]) => label).sort()
      const base = name.replace(/_(?:bucket|sum|count)$/, '')
      return `${base}{${labelNames.filter(label => label !== 'le').join(',')}}`
    }),
  )
}

function withoutLabels(name: string): string {
  return name.replace(/\{.*/, '')
}
