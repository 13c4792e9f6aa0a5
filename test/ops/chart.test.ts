/** The chart and the manifests, as far as they can be tested without Helm. `npm run test:chart` renders the chart. */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Ajv } from 'ajv'
import { test } from 'tap'
import { parse, stringify } from 'yaml'
import { temporaryDirectory } from '../helpers/helper.ts'
import { ALERT_PACKAGES, ensureServers, serverPath } from '../services/install.ts'
import { ROOT } from '../services/program.ts'
import { CHART, MANIFESTS, madeFiles, manifests, staleness } from './chart/files.ts'
import { complaintsAbout } from './chart/invariants.ts'
import { type KubernetesObject, objectsIn } from './chart/objects.ts'
import { valuesSchema } from './chart/values-schema.ts'

const OUTDATED = 'run `npm run chart`'
const objects = manifests.flatMap(({ file }) => objectsIn(textOf(file)))

function textOf(file: string): string {
  return readFileSync(join(MANIFESTS, file), 'utf8')
}

function only(kind: string): KubernetesObject {
  const found = objects.filter(object => object.kind === kind)
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`${found.length} objects are of the kind ${kind}`)
  return found[0]
}

test('files of the chart that are made of others are current', async t => {
  for (const [path, text] of Object.entries(madeFiles()))
    t.equal(readFileSync(join(CHART, path), 'utf8'), text, `${path}: ${OUTDATED}`)
})

test('the manifests are what the chart renders', async t => {
  for (const manifest of manifests) {
    const text = textOf(manifest.file)
    t.equal(staleness(manifest, text), undefined, `${manifest.file}: ${OUTDATED}`)
    t.equal(staleness(manifest, text.replace('kind: ', 'kind:  ')), 'it was edited')
    t.equal(
      staleness(manifest, text.replace(/^# from \w/m, '# from x')),
      'the chart or its values have changed',
    )
  }
})

test('the manifests keep the rules', async t => {
  t.strictSame(complaintsAbout(objects), [])
  const kinds = objects.map(({ kind }) => kind)
  for (const kind of ['StatefulSet', 'Deployment', 'NetworkPolicy', 'PodDisruptionBudget', 'PodMonitor'])
    t.ok(kinds.includes(kind), kind)
})

test('the rules find what is wrong', async t => {
  const broken = (change: (object: KubernetesObject) => void, kind = 'StatefulSet'): string => {
    const copies = structuredClone(objects)
    change(copies.find(object => object.kind === kind) as KubernetesObject)
    return complaintsAbout(copies).join('\n')
  }
  const pod = ({ spec }: KubernetesObject) => spec.template.spec
  const own = (object: KubernetesObject) => pod(object).containers[0]
  t.match(
    broken(object => own(object).env.push({ name: 'BATCH_EVENT_MAX', value: '1' })),
    /BATCH_EVENT_MAX is no setting/,
  )
  t.match(
    broken(object => own(object).env.push({ name: 'UI', value: 'false' })),
    /UI must be/,
  )
  t.match(
    broken(object => own(object).env.push({ name: 'AMQP_URL', value: 'amqp://a' })),
    /AMQP_URL is not from a Secret/,
  )
  t.match(
    broken(object => (own(object).readinessProbe.httpGet.port = 'http')),
    /readinessProbe does not ask/,
  )
  t.match(
    broken(object => (own(object).ports[1].containerPort = 4002)),
    /the port admin is not ADMIN_PORT/,
  )
  t.match(
    broken(object => (pod(object).terminationGracePeriodSeconds = 35)),
    /it is killed before/,
  )
  t.match(
    broken(object => delete own(object).securityContext.readOnlyRootFilesystem),
    /may write its root file system/,
  )
  t.match(
    broken(object => (pod(object).securityContext.runAsNonRoot = false)),
    /it may run as root/,
  )
  t.match(
    broken(object => (pod(object).volumes = [{ name: 'a', hostPath: {} }])),
    /of the type hostPath/,
  )
  t.match(
    broken(object => (object.spec.persistentVolumeClaimRetentionPolicy.whenScaled = 'Delete')),
    /would be deleted/,
  )
  t.match(
    broken(object => (object.spec.template.metadata.labels['app.kubernetes.io/component'] = 'x')),
    /does not select its pods/,
  )
  t.match(
    broken(({ spec }) => (spec.selector.matchLabels.a = 'b'), 'PodDisruptionBudget'),
    /it is not for one role/,
  )
  t.match(
    broken(({ spec }) => delete spec.ingress[1].from, 'NetworkPolicy'),
    /opens the port for operators/,
  )
  t.match(
    broken(({ spec }) => (spec.ports[0].targetPort = 'web'), 'Service'),
    /no pod has the port web/,
  )
})

test('values.yaml has each value of the schema, and fits it', async t => {
  const schema = JSON.parse(valuesSchema())
  const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8'))
  const ajv = new Ajv({ strict: false })
  const fits = ajv.compile(schema)
  t.ok(fits(values), ajv.errorsText(fits.errors))
  t.ok(fits(parse(textOf('values.yaml'))), ajv.errorsText(fits.errors))
  const missing = (
    of: { properties?: Record<string, object> },
    there: Record<string, unknown>,
    path: string,
  ): string[] =>
    Object.entries(of.properties ?? {}).flatMap(([name, inner]) =>
      there[name] === undefined ? [`${path}${name}`] : missing(inner, Object(there[name]), `${path}${name}.`),
    )
  const notListed = missing(schema, values, '').filter(
    path => !/^global$|resources\.claims$|resources\.limits\.cpu$/.test(path),
  )
  t.strictSame(notListed, [])
  for (const wrong of [
    { ingest: { replica: 3 } },
    { settings: { BATCH_EVENT_MAX: 1 } },
    { settings: { BATCH_EVENTS_MAX: true } },
    { archive: { settings: { ARCHIVE_URL: 's3://b' } } },
    { archive: { url: 'my-bucket' } },
    { broker: { existingSecret: 'amqp://user:password@rabbit' } },
    { ingest: { persistence: { accessModes: ['ReadWriteMany'] } } },
  ])
    t.notOk(fits(wrong), JSON.stringify(wrong))
})

test('the alert rules for this release fire when those of ops/alerts.yml do', async t => {
  await ensureServers(ALERT_PACKAGES)
  const directory = temporaryDirectory(t)
  const { spec } = only('PrometheusRule')
  writeFileSync(join(directory, 'rules.yml'), stringify(spec))
  const tests = parse(readFileSync(join(ROOT, 'test/ops/alerts-test.yml'), 'utf8'))
  writeFileSync(join(directory, 'tests.yml'), stringify(ofRelease(tests)))
  const promtool = serverPath('promtool')
  const { stdout } = await promisify(execFile)(promtool, ['test', 'rules', join(directory, 'tests.yml')])
  t.match(stdout, /SUCCESS/)
  const source = parse(readFileSync(join(ROOT, 'ops/alerts.yml'), 'utf8'))
  t.strictSame(namesOf(spec), [...namesOf(source), 'FrequencySpoolLeft'])
})

interface Rules {
  groups: { rules: { alert: string }[] }[]
}

function namesOf({ groups }: Rules): string[] {
  return groups.flatMap(({ rules }) => rules.map(({ alert }) => alert))
}

interface RuleTests {
  rule_files: string[]
  tests: {
    interval: string
    input_series: { series: string; values: string }[]
    alert_rule_test: {
      eval_time: string
      alertname: string
      exp_alerts: { exp_labels: Record<string, string>; exp_annotations: Record<string, string> }[]
    }[]
  }[]
}

/** The tests of ops/alerts.yml for pods in a namespace, beside pods of another one that would fire every alert. */
function ofRelease({ tests, ...rest }: RuleTests): RuleTests {
  const inNamespace = tests.map(({ input_series, alert_rule_test, ...others }) => ({
    ...others,
    input_series: input_series.flatMap(({ series, values }) => [
      { series: series.replace('{', '{namespace="frequency", '), values },
      { series: series.replace('{', '{namespace="another", '), values: '1+7x100' },
    ]),
    alert_rule_test: alert_rule_test.map(({ exp_alerts, ...each }) => ({
      ...each,
      exp_alerts: exp_alerts.map(({ exp_labels, ...alert }) => ({
        ...alert,
        exp_labels: { ...labelsInNamespace(each.alertname, exp_labels) },
      })),
    })),
  }))
  return { ...rest, rule_files: ['rules.yml'], tests: [...inNamespace, spoolLeft] }
}

/** `absent()` has the labels that are asked for. Expressions that sum up have no namespace. */
function labelsInNamespace(alert: string, labels: Record<string, string>): Record<string, string> {
  if (alert === 'FrequencyAbsent') return { ...labels, namespace: 'frequency', job: 'frequency' }
  return labels.instance === undefined ? labels : { ...labels, namespace: 'frequency' }
}

const spoolLeft: RuleTests['tests'][number] = {
  interval: '1m',
  input_series: ['0', '1', '2'].map(number => ({
    series: `frequency_spool_events{namespace="frequency", job="frequency", pod="frequency-ingest-${number}"}`,
    // The first runs on, the second went when its spool was empty, the third before it was.
    values: { 0: '5x60', 1: '5x5 0x5 _x50', 2: '5x10 stale _x50' }[number] ?? '',
  })),
  alert_rule_test: [
    { eval_time: '9m', alertname: 'FrequencySpoolLeft', exp_alerts: [] },
    {
      eval_time: '40m',
      alertname: 'FrequencySpoolLeft',
      exp_alerts: [
        {
          exp_labels: { namespace: 'frequency', pod: 'frequency-ingest-2', severity: 'warning' },
          exp_annotations: {
            summary: 'frequency-ingest-2 is gone, and had 5 events in its spool.',
            description:
              'They are on the claim data-frequency-ingest-2. Scale the StatefulSet up until that pod runs again. It drains the spool. Do not delete the claim before.',
          },
        },
      ],
    },
  ],
}
