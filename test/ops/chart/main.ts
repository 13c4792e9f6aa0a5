/**
 * Renders the chart with many values, and checks the output. Needs Helm or Go, and takes half a minute:
 *
 *     npm run test:chart [-- --server]
 *
 * Without Go kubeconform is not run, because its schemas come from Go modules. `--server` has each object accepted by a
 * real API server too, in a namespace that enforces Pod Security "restricted". For that etcd, kube-apiserver and kubectl
 * have to be on PATH: `setup-envtest use` installs them.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryDirectory } from '../../helpers/helper.ts'
import { startApiServer } from './api-server.ts'
import { combinations, refusals } from './combinations.ts'
import { CHART, KUBERNETES, MANIFESTS, manifests, NAMESPACE } from './files.ts'
import { complaintsAbout } from './invariants.ts'
import { type KubernetesObject, objectsIn, podTemplateOf, yamlText } from './objects.ts'
import { renderedManifest, renderedWith } from './render.ts'
import { crdPaths, writeSchemas } from './schemas.ts'
import { hasGo, ranTool, toolPath } from './tools.ts'

const MS_MAX = 900_000
const PRIORITY_CLASS = { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', value: 1 }

t.setTimeout(MS_MAX)
const directory = temporaryDirectory(t)
const helm = await toolPath('helm')
const outputs: Record<string, string> = {}

t.test('the manifests in ops/kubernetes are what the chart renders', async t => {
  for (const manifest of manifests)
    t.equal(
      await renderedManifest(manifest),
      readFileSync(join(MANIFESTS, manifest.file), 'utf8'),
      `${manifest.file}: run \`npm run chart\``,
    )
})

for (const [name, values] of Object.entries(combinations))
  t.test(`with ${name}`, async t => {
    const path = join(directory, `${Object.keys(outputs).length}.yaml`)
    const { code, stdout, stderr } = await renderedWith(path, values)
    t.equal(code, 0, stderr)
    outputs[name] = stdout
    t.strictSame(complaintsAbout(objectsIn(stdout)), [])
    t.notMatch(stdout, /^ +$/m, 'no empty lines from templates')
    t.notMatch(stdout, /[0-9]e\+[0-9]/, 'no number as 2e+08')
    t.notMatch(stdout, /<no value>|<nil>|%!/, 'each value is there')
    const linted = await ranTool(helm, [
      'lint',
      '--strict',
      '--kube-version',
      KUBERNETES,
      CHART,
      '--values',
      path,
    ])
    t.equal(linted.code, 0, linted.stdout)
  })

t.test('values that cannot work are refused, and the message says what to change', async t => {
  for (const [values, message] of refusals) {
    const { code, stderr } = await renderedWith(join(directory, 'refused.yaml'), values)
    t.not(code, 0, JSON.stringify(values))
    t.match(stderr, message)
  }
})

t.test('a cluster that is too old is refused', async t => {
  const path = join(directory, 'old.yaml')
  writeFileSync(path, yamlText(combinations.minimal))
  const { code, stderr } = await ranTool(helm, [
    'template',
    'a',
    CHART,
    '--kube-version',
    '1.29.9',
    '--values',
    path,
  ])
  t.not(code, 0)
  t.match(stderr, /requires kubeVersion: >=1\.30/)
})

t.test('the package of the chart can be made', async t => {
  const { code, stderr } = await ranTool(helm, ['package', CHART, '--destination', directory])
  t.equal(code, 0, stderr)
})

if (hasGo())
  t.test('kubeconform accepts each object', async t => {
    const schemas = join(temporaryDirectory(t))
    await writeSchemas(schemas)
    const kubeconform = await toolPath('kubeconform')
    const location = `${schemas}/{{.ResourceKind}}{{.KindSuffix}}.json`
    const conforms = async (path: string) =>
      ranTool(kubeconform, ['-strict', '-summary', '-schema-location', location, path])
    for (const [name, text] of Object.entries(outputs)) {
      const path = join(directory, 'rendered.yaml')
      writeFileSync(path, text)
      const { code, stdout } = await conforms(path)
      t.equal(code, 0, `${name}: ${stdout}`)
      t.match(stdout, /Skipped: 0/)
    }
    const path = join(directory, 'wrong.yaml')
    writeFileSync(path, (outputs.minimal ?? '').replace('enableServiceLinks', 'enableServiceLink'))
    const wrong = await conforms(path)
    t.not(wrong.code, 0)
    t.match(wrong.stdout, /enableServiceLink/)
  })
else
  process.stderr.write('kubeconform was not run: its schemas come from Go modules, and go is not on PATH.\n')

if (process.argv.includes('--server')) t.test('an API server accepts each object', inServer)
else process.stderr.write('No API server was asked: `npm run test:chart -- --server` does that.\n')

async function inServer(t: Test): Promise<void> {
  const { kubectl } = await startApiServer(t)
  const apply = async (path: string, ...args: string[]) =>
    kubectl(['apply', '--server-side', ...args, '-f', path])
  const dryRun = ['--dry-run=server', '--validate=strict']
  for (const path of [...(await crdPaths()), join(MANIFESTS, 'namespace.yaml')]) {
    const { code, stderr } = await apply(path)
    t.equal(code, 0, stderr)
  }
  for (const crd of [
    'podmonitors.monitoring.coreos.com',
    'scaledobjects.keda.sh',
    'httproutes.gateway.networking.k8s.io',
  ])
    await kubectl(['wait', '--for=condition=Established', `crd/${crd}`, '--timeout=30s'])
  const path = join(directory, 'applied.yaml')
  // The class that the values name.
  writeFileSync(path, yamlText({ ...PRIORITY_CLASS, metadata: { name: 'high' } }))
  t.equal((await apply(path)).code, 0)
  for (const [name, text] of Object.entries(outputs)) {
    const pods = podsOf(objectsIn(text))
    writeFileSync(path, `${text}${pods.map(pod => `---\n${yamlText(pod)}`).join('')}`)
    const { code, stdout, stderr } = await apply(path, ...dryRun)
    t.equal(code, 0, `${name}: ${stderr}`)
    t.notMatch(stderr, /Warning/)
    for (const { metadata } of pods) t.match(stdout, `pod/${metadata.name} serverside-applied`)
  }
  const [pod] = podsOf(objectsIn(outputs.minimal ?? ''))
  if (pod === undefined) throw new Error('The chart has no pod')
  writeFileSync(path, yamlText({ ...pod, spec: { ...pod.spec, securityContext: {} } }))
  t.match((await apply(path, ...dryRun)).stderr, /violates PodSecurity "restricted:latest"/)
  const { code, stderr } = await kubectl(['apply', '--server-side', ...dryRun, '-k', MANIFESTS])
  t.equal(code, 0, stderr)
}

/** The pods that controllers would make of the objects. Pod Security only warns of a Deployment; it refuses pods. */
function podsOf(objects: readonly KubernetesObject[]): KubernetesObject[] {
  return objects.flatMap(object => {
    const template = podTemplateOf(object)
    if (template === undefined || object.kind === 'Pod') return []
    const claims: { metadata: { name: string } }[] = object.spec.volumeClaimTemplates ?? []
    const volumes = claims.map(({ metadata: { name } }) => ({
      name,
      persistentVolumeClaim: { claimName: name },
    }))
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: object.metadata.name, namespace: NAMESPACE, labels: template.metadata.labels },
      spec: {
        restartPolicy: 'Always',
        ...template.spec,
        volumes: [...(template.spec.volumes ?? []), ...volumes],
      },
    }
  })
}
