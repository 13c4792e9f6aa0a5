/** The files for operators: metrics as documented, alerts, a dashboard. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, uniqueQueueName } from '../helpers/queue-helper.ts'
import { serveApp } from '../plugins/served-app.ts'
import { ALERT_PACKAGES, ensureServers, serverPath } from '../services/install.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ALERTS = join(ROOT, 'ops', 'alerts.yml')
const RULE_TESTS = join(ROOT, 'test', 'ops', 'alerts-test.yml')
const OPERATIONS = readFileSync(join(ROOT, 'docs', 'operations.md'), 'utf8')
/** Names of prom-client that do not follow the conventions, kept because they are well known. */
const LIBRARY_NAMES = /^nodejs_active_(?:handles|requests|resources)_total /

async function metricsOf(t: Test, env: Record<string, string>): Promise<string> {
  const { url } = await serveApp(t, env)
  const headers = { 'content-type': 'application/json' }
  await fetch(`${url}/api/t`, { method: 'POST', headers, body: '{"event":"a"}' })
  await fetch(`${url}/api/t`, { method: 'POST', headers, body: '{}' })
  const response = await fetch(`${url}/metrics`)
  t.match(response.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  return response.text()
}

/** Names of metrics, and of the series of histograms. */
function namesIn(metrics: string): { metrics: Set<string>; series: Set<string> } {
  const names = { metrics: new Set<string>(), series: new Set<string>() }
  for (const [, name = '', type] of metrics.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    names.metrics.add(name)
    if (type !== 'histogram') names.series.add(name)
    else for (const suffix of ['bucket', 'sum', 'count']) names.series.add(`${name}_${suffix}`)
  }
  return names
}

function metricsNamedIn(text: string): Set<string> {
  return new Set(text.match(/\b(?:frequency|nodejs|process)_[a-z0-9_]*[a-z0-9]/g))
}

function missing(wanted: Iterable<string>, there: Set<string>): string[] {
  return [...wanted].filter(name => !there.has(name))
}

test('the files for operators', async t => {
  await ensureServers(ALERT_PACKAGES)
  const promtool = serverPath('promtool')
  const broker = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
  const byRole = {
    all: await metricsOf(t, {}),
    ingest: await metricsOf(t, { ...broker, ROLE: 'ingest' }),
    archive: await metricsOf(t, { ...broker, ROLE: 'archive', ARCHIVE_URL: temporaryDirectory(t) }),
  }
  const names = namesIn(Object.values(byRole).join('\n'))
  const own = [...names.metrics].filter(name => name.startsWith('frequency_'))

  for (const [role, metrics] of Object.entries(byRole)) {
    t.test(`promtool accepts the metrics of ${role}`, async t => {
      const child = spawn(promtool, ['check', 'metrics'], { stdio: ['pipe', 'ignore', 'pipe'] })
      child.stdin.end(metrics)
      const [complaints] = await Promise.all([text(child.stderr), once(child, 'close')])
      const ours = complaints.split('\n').filter(line => line !== '' && !LIBRARY_NAMES.test(line))
      t.same(ours, [])
      t.match(metrics, /^process_resident_memory_bytes \d/m)
      t.match(metrics, /^nodejs_eventloop_lag_p99_seconds \d/m)
    })
  }

  t.test('docs/operations.md explains each metric, and no other', async t => {
    const explained = new Set(
      [...OPERATIONS.matchAll(/^\| `(frequency_\w+)` \|/gm)].map(([, name]) => name as string),
    )
    t.same([...explained].toSorted(), own.toSorted())
    const mentioned = [...metricsNamedIn(OPERATIONS)].filter(name => name.startsWith('frequency_'))
    t.same(missing(mentioned, names.metrics), [])
  })

  t.test('promtool accepts the alert rules, and they fire when they should', async t => {
    const run = promisify(execFile)
    t.match((await run(promtool, ['check', 'rules', ALERTS])).stdout, /SUCCESS: \d+ rules found/)
    t.match((await run(promtool, ['test', 'rules', RULE_TESTS])).stdout, /SUCCESS/)
  })

  t.test('alerts use metrics that exist, and docs/operations.md explains each alert', async t => {
    const alerts = readFileSync(ALERTS, 'utf8')
    const used = metricsNamedIn(alerts)
    t.ok(used.size > 10)
    t.same(missing(used, names.series), [])
    for (const [, name = ''] of alerts.matchAll(/^ +- alert: (\w+)$/gm))
      t.match(OPERATIONS, new RegExp(`^### .*${name}\\b`, 'm'))
  })

  t.test('the dashboard uses metrics that exist', async t => {
    const dashboard = readFileSync(join(ROOT, 'ops', 'grafana-dashboard.json'), 'utf8')
    const { panels } = JSON.parse(dashboard) as {
      panels: { type: string; title: string; targets?: { expr: string }[] }[]
    }
    const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
    const used = metricsNamedIn(expressions.join('\n'))
    t.ok(expressions.length > 30)
    t.same(missing(used, names.series), [])
    t.same(missing(metricsNamedIn(dashboard), new Set([...names.series])), [], 'also outside of queries')
  })

  t.test('promtool accepts each query of the dashboard', async t => {
    const { panels } = JSON.parse(readFileSync(join(ROOT, 'ops', 'grafana-dashboard.json'), 'utf8')) as {
      panels: { targets?: { expr: string }[] }[]
    }
    const rules = panels
      .flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
      .map(expr => expr.replaceAll('$job', 'frequency').replaceAll('$__rate_interval', '1m'))
      .map((expr, at) => `      - record: query:${at}\n        expr: ${JSON.stringify(expr)}`)
    const path = join(temporaryDirectory(t), 'queries.yml')
    writeFileSync(path, `groups:\n  - name: dashboard\n    rules:\n${rules.join('\n')}\n`)
    const { stdout } = await promisify(execFile)(promtool, ['check', 'rules', path])
    t.match(stdout, `SUCCESS: ${rules.length} rules found`)
  })
})
