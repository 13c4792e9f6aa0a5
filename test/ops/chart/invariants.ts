/** What has to be true of everything that the chart renders, and what Kubernetes does not check by itself. */
import { awsSettings } from '../../../src/config/aws-settings.ts'
import { readConfig, settings } from '../../../src/config/config.ts'
import {
  type Container,
  type KubernetesObject,
  type PodSpec,
  type PodTemplate,
  podTemplateOf,
  type Selector,
  selects,
} from './objects.ts'

/** Names that the program reads besides its settings. */
const OTHER_VARIABLES = ['TMPDIR', 'NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS']
const KNOWN_VARIABLES = new Set([
  ...settings.map(({ variable }) => variable),
  ...awsSettings.map(({ variable }) => variable),
  ...OTHER_VARIABLES,
])
const SECRETS = new Set([
  'AMQP_URL',
  'UI_TOKEN',
  'WRITE_KEYS',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
])
const HEALTH = { startupProbe: '/healthz', livenessProbe: '/healthz', readinessProbe: '/readyz' } as const
const SERVERS = new Set(['StatefulSet', 'Deployment'])
const SCALED = new Set(['HorizontalPodAutoscaler', 'ScaledObject'])
/** Values of secrets that the program takes. */
const PLACEHOLDERS: Record<string, string> = { AMQP_URL: 'amqp://broker', UI_TOKEN: 'x'.repeat(16) }
/** Volumes that Pod Security "restricted" takes. */
const RESTRICTED_VOLUMES = new Set([
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
])

/** @returns a sentence for each rule that is broken */
export function complaintsAbout(objects: readonly KubernetesObject[]): string[] {
  const templates = objects.flatMap(object => {
    const template = podTemplateOf(object)
    return template === undefined ? [] : [{ object, template }]
  })
  const pods = templates.map(({ template }) => template)
  return [
    ...templates.flatMap(({ object, template }) => aboutPods(object, template, objects)),
    ...objects.flatMap(object => aboutObject(object, pods, objects)),
    ...aboutPolicies(objects, pods),
  ]
}

function aboutPods(
  object: KubernetesObject,
  template: PodTemplate,
  objects: readonly KubernetesObject[],
): string[] {
  const of = `${object.kind} ${object.metadata.name}`
  const { spec } = template
  const containers = [...(spec.initContainers ?? []), ...spec.containers]
  const claims: { metadata: { name: string } }[] = object.spec.volumeClaimTemplates ?? []
  const volumes = new Set(
    [...(spec.volumes ?? []), ...claims.map(({ metadata }) => metadata)].map(({ name }) => name),
  )
  const own = spec.containers.find(({ name }) => name === 'frequency')
  if (own === undefined) return [`${of} has no container frequency`]
  return [
    ...aboutSecurity(spec, containers),
    ...containers.flatMap(container => aboutMounts(container, volumes)),
    ...aboutVariables(own),
    ...(SERVERS.has(object.kind) ? [...aboutServer(own, spec), ...aboutSelector(object, template)] : []),
    ...when(
      objects.every(
        ({ kind, metadata }) => kind !== 'ServiceAccount' || metadata.name !== spec.serviceAccountName,
      ) && spec.serviceAccountName !== 'default',
      `its service account ${spec.serviceAccountName} is not there`,
    ),
  ].map(complaint => `${of}: ${complaint}`)
}

/** https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and what we want besides. */
function aboutSecurity(spec: PodSpec, containers: readonly Container[]): string[] {
  const { securityContext = {}, volumes = [] } = spec
  return [
    ...when(securityContext.runAsNonRoot !== true, 'it may run as root'),
    ...when(!(Number(securityContext.runAsUser) > 0), 'it has no numeric user'),
    ...when(securityContext.fsGroup === undefined, 'it has no fsGroup'),
    ...when(securityContext.seccompProfile?.type !== 'RuntimeDefault', 'it has no seccomp profile'),
    ...when(spec.automountServiceAccountToken !== false, 'it mounts a token of the API'),
    ...when(spec.enableServiceLinks !== false, 'variables of Services would look like settings'),
    ...when(Boolean(spec.hostNetwork || spec.hostPID || spec.hostIPC), 'it uses namespaces of the node'),
    ...volumes.flatMap(({ name, ...source }) =>
      Object.keys(source)
        .filter(type => !RESTRICTED_VOLUMES.has(type))
        .map(type => `volume ${name} is of the type ${type}`),
    ),
    ...containers.flatMap(({ name, securityContext: own = {}, resources }) => [
      ...when(own.allowPrivilegeEscalation !== false, `${name} may escalate its privileges`),
      ...when(own.privileged === true, `${name} is privileged`),
      ...when(own.readOnlyRootFilesystem !== true, `${name} may write its root file system`),
      ...when(own.capabilities?.drop?.includes('ALL') !== true, `${name} has capabilities`),
      ...when((own.capabilities?.add ?? []).length > 0, `${name} adds capabilities`),
      ...when(resources?.requests?.memory === undefined, `${name} requests no memory`),
      ...when(resources?.limits?.memory === undefined, `${name} has no limit of memory`),
    ]),
  ]
}

function aboutMounts({ name, volumeMounts = [] }: Container, volumes: ReadonlySet<string>): string[] {
  return [
    ...volumeMounts
      .filter(mount => !volumes.has(mount.name))
      .map(mount => `${name} mounts ${mount.name}, which is not there`),
    ...volumeMounts
      .filter(mount => mount.subPath !== undefined)
      .map(mount => `${name}: ${mount.name} would never change`),
    ...when(!volumeMounts.some(({ mountPath }) => mountPath === '/data'), `${name} has nowhere to write`),
  ]
}

function aboutVariables({ env = [], volumeMounts = [] }: Container): string[] {
  const names = env.map(({ name }) => name)
  const values = Object.fromEntries(
    env.map(({ name, value }) => [name, value ?? PLACEHOLDERS[name] ?? 'secret']),
  )
  const paths = [
    values.DATA_DIR,
    values.TMPDIR,
    values.WRITE_KEYS_FILE,
    ...(values.PLUGINS?.split(',') ?? []),
  ]
  return [
    ...names.filter(name => !KNOWN_VARIABLES.has(name)).map(name => `${name} is no setting`),
    ...names.filter((name, at) => names.indexOf(name) !== at).map(name => `${name} is set twice`),
    ...env
      .filter(({ name, value }) => SECRETS.has(name) && value !== undefined)
      .map(({ name }) => `${name} is not from a Secret`),
    ...env
      .filter(({ value, valueFrom }) => valueFrom === undefined && typeof value !== 'string')
      .map(({ name }) => `${name} is not a text`),
    ...paths
      .filter(path => path !== undefined)
      .filter(
        path => !volumeMounts.some(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`)),
      )
      .map(path => `${path} is on no volume`),
    ...refusal(values),
  ]
}

/** What the program itself says of the settings. */
function refusal(env: Record<string, string>): string[] {
  try {
    readConfig({}, env)
    return []
  } catch (error) {
    return [(error as Error).message]
  }
}

function aboutServer(container: Container, spec: PodSpec): string[] {
  const { env = [], ports = [], lifecycle } = container
  const value = (name: string): string => env.find(variable => variable.name === name)?.value ?? ''
  const port = (name: string): string => String(ports.find(each => each.name === name)?.containerPort)
  const isIngest = value('ROLE') === 'ingest'
  const sleepSeconds = lifecycle?.preStop?.sleep?.seconds ?? 0
  const shutdownSeconds = readConfig({}, { SHUTDOWN_MS_MAX: value('SHUTDOWN_MS_MAX') }).shutdownMsMax / 1000
  return [
    ...when(container.args?.join() !== 'serve', 'it does not run serve'),
    ...when(port('admin') !== value('ADMIN_PORT'), 'the port admin is not ADMIN_PORT'),
    ...when(isIngest && port('http') !== value('PORT'), 'the port http is not PORT'),
    ...when(
      value('ADMIN_HOST') !== '0.0.0.0' && value('ADMIN_HOST') !== '::',
      'the kubelet cannot reach ADMIN_PORT',
    ),
    ...when(!isIngest && value('HOST') !== '127.0.0.1', 'an archiver listens on PORT'),
    ...Object.entries(HEALTH).flatMap(([name, path]) => {
      const probe = container[name as keyof typeof HEALTH]?.httpGet
      return when(
        probe?.path !== path || probe.port !== 'admin',
        `${name} does not ask ${path} of the port admin`,
      )
    }),
    ...when(
      !((spec.terminationGracePeriodSeconds ?? 30) > sleepSeconds + shutdownSeconds),
      'it is killed before it has shut down',
    ),
  ]
}

function aboutSelector({ spec }: KubernetesObject, { metadata, spec: pod }: PodTemplate): string[] {
  const spread = pod.topologySpreadConstraints ?? []
  return [
    ...when(!selects(spec.selector, metadata.labels), 'its selector does not select its pods'),
    ...when(Object.keys(spec.selector.matchLabels).length < 3, 'its selector may select other pods'),
    ...when(spread.length === 0, 'its pods may all be on one node'),
    ...when(
      spread.some(({ labelSelector }) => !selects(labelSelector, metadata.labels)),
      'it spreads other pods',
    ),
  ]
}

function aboutObject(
  { kind, metadata, spec }: KubernetesObject,
  pods: readonly PodTemplate[],
  objects: readonly KubernetesObject[],
): string[] {
  const of = `${kind} ${metadata.name}`
  const isThere = (wanted: { kind: string; name: string }): boolean =>
    objects.some(each => each.kind === wanted.kind && each.metadata.name === wanted.name)
  const ports = (selector: Selector): Set<string | number> =>
    new Set(
      pods
        .filter(pod => selects(selector, pod.metadata.labels))
        .flatMap(pod => pod.spec.containers.flatMap(({ ports = [] }) => ports.map(({ name }) => name))),
    )
  const complaints: string[] = []
  if (metadata.name.length > 63) complaints.push('its name is too long')
  if (metadata.namespace !== 'frequency') complaints.push('it is in another namespace')
  if (kind === 'Service')
    for (const { targetPort } of spec.ports)
      complaints.push(
        ...when(!ports({ matchLabels: spec.selector }).has(targetPort), `no pod has the port ${targetPort}`),
      )
  if (kind === 'PodMonitor')
    for (const { port } of spec.podMetricsEndpoints)
      complaints.push(...when(!ports(spec.selector).has(port), `no pod has the port ${port}`))
  if (kind === 'PodDisruptionBudget')
    complaints.push(
      ...when(
        pods.filter(pod => selects(spec.selector, pod.metadata.labels)).length !== 1,
        'it is not for one role',
      ),
    )
  if (SCALED.has(kind)) {
    complaints.push(...when(!isThere(spec.scaleTargetRef), 'its target is not there'))
    const target = objects.find(
      each => each.kind === spec.scaleTargetRef.kind && each.metadata.name === spec.scaleTargetRef.name,
    )
    complaints.push(...when(target?.spec.replicas !== undefined, 'each upgrade would set the replicas back'))
  }
  if (kind === 'StatefulSet') {
    complaints.push(
      ...when(!isThere({ kind: 'Service', name: spec.serviceName }), 'its Service is not there'),
    )
    const policy = spec.persistentVolumeClaimRetentionPolicy
    const isKept = policy?.whenDeleted === 'Retain' && policy.whenScaled === 'Retain'
    complaints.push(
      ...when(spec.volumeClaimTemplates !== undefined && !isKept, 'claims with events would be deleted'),
    )
  }
  if (kind === 'Ingress')
    for (const { http } of spec.rules)
      for (const { backend } of http.paths)
        complaints.push(
          ...when(!isThere({ kind: 'Service', name: backend.service.name }), 'its Service is not there'),
        )
  return complaints.map(complaint => `${of}: ${complaint}`)
}

/** Each pod has a policy, and nobody but its own release and monitoring reaches its port for operators. */
function aboutPolicies(objects: readonly KubernetesObject[], pods: readonly PodTemplate[]): string[] {
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy')
  if (policies.length === 0) return []
  const complaints = pods
    .filter(pod => policies.filter(({ spec }) => selects(spec.podSelector, pod.metadata.labels)).length !== 1)
    .map(pod => `the pods ${JSON.stringify(pod.metadata.labels)} have not one NetworkPolicy`)
  for (const { metadata, spec } of policies) {
    complaints.push(
      ...when(spec.policyTypes.join() !== 'Ingress,Egress', `${metadata.name} has one direction`),
    )
    for (const { ports = [], from = [] } of spec.ingress) {
      const names: unknown[] = ports.map(({ port }: { port: unknown }) => port)
      complaints.push(...when(ports.length === 0, `${metadata.name} opens all ports`))
      complaints.push(
        ...when(
          names.includes('admin') && from.length === 0,
          `${metadata.name} opens the port for operators`,
        ),
      )
    }
    for (const { ports = [], to = [] } of spec.egress)
      complaints.push(...when(ports.length === 0 && to.length === 0, `${metadata.name} lets everything out`))
  }
  return complaints
}

function when(isBroken: boolean, complaint: string): string[] {
  return isBroken ? [complaint] : []
}
