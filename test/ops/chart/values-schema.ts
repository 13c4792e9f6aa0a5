/** The JSON schema of the chart's values. Helm refuses values that do not fit, also names that are misspelt. */
import { type TProperties, type TSchema, Type } from '@sinclair/typebox'
import { type Setting, settings } from '../../../src/config/config.ts'

/** Settings that have values of their own in the chart, or that the chart decides. */
const MANAGED = new Set([
  'ROLE',
  'HOST',
  'PORT',
  'ADMIN_HOST',
  'ADMIN_PORT',
  'DATA_DIR',
  'AMQP_URL',
  'AMQP_QUEUE',
  'ARCHIVE_URL',
  'S3_FORCE_PATH_STYLE',
  'SHUTDOWN_MS_MAX',
  'UI_TOKEN',
  'WRITE_KEYS',
  'WRITE_KEYS_FILE',
])

const QUANTITY = '^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$'
const PORT = { minimum: 1, maximum: 65_535 }

/** All members may be left out, and no others are allowed. */
function members(properties: TProperties): TSchema {
  const optional = Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [name, Type.Optional(schema)]),
  )
  return Type.Object(optional, { additionalProperties: false })
}

const text = Type.String()
const flag = Type.Boolean()
const texts = Type.Array(text)
/** Names and values in an object of Kubernetes. */
const map = Type.Record(text, text)
/** Labels besides those by which the chart's objects find one another. */
const labels = Type.Record(text, text, {
  propertyNames: { not: { pattern: '^(app\\.kubernetes\\.io|helm\\.sh)/' } },
})
/** What Kubernetes itself checks. */
const anything = Type.Record(text, Type.Unknown())
const list = Type.Array(anything)
const count = Type.Integer({ minimum: 0 })
const replicas = Type.Integer({ minimum: 1 })
const quantity = Type.String({ pattern: QUANTITY })
/** A name of the API, as of a Secret; empty if there is none. */
const name = Type.String({ maxLength: 253, pattern: '^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$' })
const key = Type.String({ pattern: '^[A-Za-z0-9._-]+$' })
const ports = Type.Array(Type.Integer(PORT))
const countOrPercent = Type.Union([count, Type.String({ pattern: '^[0-9]+%$' })])

/** Settings of frequency, by their variables. */
const ownSettings: TSchema = Type.Unsafe({ $ref: '#/definitions/settings' })

function settingsOf(): TSchema {
  const own = settings.filter(({ variable }) => !MANAGED.has(variable))
  return members(Object.fromEntries(own.map(setting => [setting.variable, schemaOf(setting)])))
}

/** YAML 1.1 reads on and off as booleans. The chart writes booleans as on and off. */
function schemaOf({ variable, description, schema }: Setting): TSchema {
  if (schema.type === 'boolean')
    throw new Error(`${variable} would become on or off: give it a value of its own.`)
  const choices: TSchema[] = schema.anyOf?.filter((each: TSchema) => each.const !== undefined) ?? []
  if (choices.length === 0) return Type.Union([Type.String(), Type.Integer()], { description })
  const values: TSchema[] = choices.map(choice => Type.Literal(choice.const))
  const isSwitch = choices.some(choice => choice.const === 'on')
  return Type.Union(isSwitch ? [...values, Type.Boolean()] : values, { description })
}

const serviceAccount = members({ create: flag, name, annotations: map })
const resources = members({ requests: anything, limits: anything, claims: list })
const behavior = anything
/** What both roles have. */
const pods = {
  replicas: count,
  settings: ownSettings,
  env: list,
  envFrom: list,
  shutdownSeconds: Type.Integer({ minimum: 1, maximum: 3600 }),
  resources,
  podDisruptionBudget: members({ enabled: flag, maxUnavailable: countOrPercent }),
  serviceAccount,
  podAnnotations: map,
  podLabels: labels,
  priorityClassName: name,
  nodeSelector: map,
  tolerations: list,
  affinity: anything,
  topologySpreadConstraints: list,
  extraVolumes: list,
  extraVolumeMounts: list,
  initContainers: list,
  sidecars: list,
}

const ingest = members({
  ...pods,
  autoscaling: members({
    enabled: flag,
    minReplicas: replicas,
    maxReplicas: replicas,
    cpuUtilization: Type.Integer({ minimum: 1 }),
    metrics: list,
    behavior,
  }),
  persistence: members({
    enabled: flag,
    size: quantity,
    storageClass: text,
    accessModes: Type.Array(Type.Union([Type.Literal('ReadWriteOnce'), Type.Literal('ReadWriteOncePod')]), {
      minItems: 1,
    }),
    annotations: map,
  }),
  service: members({
    type: Type.Union([Type.Literal('ClusterIP'), Type.Literal('NodePort'), Type.Literal('LoadBalancer')]),
    port: Type.Integer(PORT),
    nodePort: Type.Union([Type.Integer(PORT), Type.Null()]),
    annotations: map,
    loadBalancerClass: text,
    loadBalancerSourceRanges: texts,
    externalTrafficPolicy: Type.Union([Type.Literal(''), Type.Literal('Cluster'), Type.Literal('Local')]),
  }),
  preStopSeconds: count,
})

const archive = members({
  ...pods,
  url: Type.String({
    pattern: '^($|s3://[^/]+|file:///|/)',
    description: 'ARCHIVE_URL: s3://bucket/prefix, or a directory on a volume that all archivers mount.',
  }),
  aws: members({
    region: text,
    endpoint: Type.String({ pattern: '^($|https?://)' }),
    forcePathStyle: flag,
    existingSecret: name,
    accessKeyIdKey: key,
    secretAccessKeyKey: key,
    sessionTokenKey: text,
  }),
  autoscaling: members({
    type: Type.Union([Type.Literal('none'), Type.Literal('keda'), Type.Literal('hpa')]),
    minReplicas: replicas,
    maxReplicas: replicas,
    keda: members({ messages: replicas, pollingIntervalSeconds: replicas }),
    metrics: list,
    behavior,
  }),
  dataVolume: members({
    sizeLimit: quantity,
    ephemeralClaim: members({ enabled: flag, storageClass: text }),
  }),
})

const job = members({
  enabled: flag,
  schedule: Type.String({ minLength: 1 }),
  args: Type.Array(text, { minItems: 1 }),
})

const values = members({
  global: anything,
  nameOverride: name,
  fullnameOverride: name,
  commonLabels: labels,
  image: members({
    repository: Type.String({ minLength: 1 }),
    tag: text,
    digest: Type.String({ pattern: '^($|sha256:[0-9a-f]{64}$)' }),
    pullPolicy: Type.Union([Type.Literal('Always'), Type.Literal('IfNotPresent'), Type.Literal('Never')]),
  }),
  imagePullSecrets: list,
  broker: members({
    existingSecret: name,
    urlKey: key,
    queue: Type.String({ minLength: 1, maxLength: 200 }),
  }),
  writeKeys: members({ existingSecret: name, key, anonymous: flag }),
  ui: members({ existingSecret: name, tokenKey: key }),
  ca: members({ existingConfigMap: name, key }),
  plugins: members({ existingConfigMap: name, files: Type.Array(key) }),
  settings: ownSettings,
  listenAddress: Type.Union([Type.Literal('0.0.0.0'), Type.Literal('::')]),
  priorityClassName: name,
  ingest,
  archive,
  jobs: Type.Record(Type.String({ pattern: '^[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?$' }), job, {
    additionalProperties: false,
  }),
  job: members({ activeDeadlineSeconds: replicas, dataSizeLimit: quantity, resources }),
  ingress: members({
    enabled: flag,
    className: text,
    annotations: map,
    hosts: Type.Array(
      Type.Object(
        { host: Type.String({ minLength: 1 }), path: Type.Optional(text) },
        { additionalProperties: false },
      ),
    ),
    tls: list,
  }),
  httpRoute: members({ enabled: flag, annotations: map, parentRefs: list, hostnames: texts }),
  networkPolicy: members({
    enabled: flag,
    eventsFrom: list,
    adminFrom: list,
    dnsTo: list,
    dnsPorts: ports,
    brokerTo: list,
    brokerPorts: ports,
    storeTo: list,
    storePorts: ports,
    extraEgress: list,
  }),
  metrics: members({
    job: Type.String({ minLength: 1, pattern: '^[A-Za-z0-9_./-]+$' }),
    podMonitor: members({
      enabled: flag,
      interval: Type.String({ pattern: '^[0-9]+(ms|s|m)$' }),
      labels,
    }),
    rules: members({ enabled: flag, labels }),
    dashboard: members({ enabled: flag, labels, annotations: map }),
  }),
})

/** Text of values.schema.json. */
export function valuesSchema(): string {
  const head = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart of frequency',
  }
  return `${JSON.stringify({ ...head, ...values, definitions: { settings: settingsOf() } }, null, 2)}\n`
}
