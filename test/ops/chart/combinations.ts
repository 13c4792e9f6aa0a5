/** Values with which `npm run test:chart` renders the chart. */

export type Values = Record<string, unknown>

const required = { broker: { existingSecret: 'broker' }, archive: { url: 's3://bucket/events' } }

/** Merges objects, and replaces everything else. */
function merged(base: Values, change: Values): Values {
  const both = Object.entries(change).map(([name, value]) => {
    const before = base[name]
    return [name, isObject(before) && isObject(value) ? merged(before, value) : value]
  })
  return { ...base, ...Object.fromEntries(both) }
}

function isObject(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const pods = {
  nodeSelector: { 'kubernetes.io/arch': 'amd64' },
  tolerations: [{ key: 'events', operator: 'Exists' }],
  affinity: {
    podAntiAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: [
        { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { a: 'b' } } },
      ],
    },
  },
  podAnnotations: { 'prometheus.io/scrape': 'true' },
  podLabels: { team: 'data' },
  priorityClassName: 'high',
  extraVolumes: [{ name: 'extra', emptyDir: {} }],
  extraVolumeMounts: [{ name: 'extra', mountPath: '/extra' }],
  env: [{ name: 'NODE_OPTIONS', value: '--max-old-space-size=512' }],
  envFrom: [{ configMapRef: { name: 'more' } }],
  serviceAccount: { annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/events' } },
}

const changes: Record<string, Values> = {
  minimal: {},
  everything: {
    commonLabels: { 'example.com/cost': 'events' },
    image: { repository: 'registry.example.com/frequency', digest: `sha256:${'0'.repeat(64)}` },
    imagePullSecrets: [{ name: 'pull' }],
    broker: { urlKey: 'AMQP_URL', queue: 'clicks' },
    writeKeys: { existingSecret: 'write-keys' },
    ui: { existingSecret: 'ui' },
    ca: { existingConfigMap: 'authority', key: 'own.pem' },
    plugins: { existingConfigMap: 'plugins', files: ['mine.mjs', 'other.mjs'] },
    settings: { LOG_LEVEL: 'debug', DEDUPE_IDS_MAX: 200_000_000 },
    ingest: {
      ...pods,
      autoscaling: {
        enabled: true,
        metrics: [
          {
            type: 'Pods',
            pods: { metric: { name: 'requests' }, target: { type: 'AverageValue', averageValue: '1k' } },
          },
        ],
      },
      persistence: { storageClass: 'fast', accessModes: ['ReadWriteOncePod'], annotations: { a: 'b' } },
      service: {
        type: 'LoadBalancer',
        externalTrafficPolicy: 'Local',
        loadBalancerClass: 'example.com/lb',
        loadBalancerSourceRanges: ['10.0.0.0/8'],
        annotations: { a: 'b' },
      },
      settings: { LOG_LEVEL: 'info', TRUST_PROXY: 'uniquelocal', UI: 'off' },
    },
    archive: {
      ...pods,
      aws: {
        region: 'eu-central-1',
        endpoint: 'http://minio.storage:9000',
        forcePathStyle: true,
        existingSecret: 'aws',
        sessionTokenKey: 'token',
      },
      autoscaling: { type: 'keda' },
      dataVolume: { sizeLimit: '20Gi', ephemeralClaim: { enabled: true, storageClass: 'fast' } },
      settings: { BATCH_EVENTS_MAX: 20_000, TABLE: true, RETENTION: '90d' },
    },
    jobs: { compact: { enabled: true }, verify: { enabled: true } },
    ingress: {
      enabled: true,
      className: 'nginx',
      annotations: { 'nginx.ingress.kubernetes.io/proxy-body-size': '16m' },
      hosts: [{ host: 'events.example.com' }],
      tls: [{ secretName: 'tls', hosts: ['events.example.com'] }],
    },
    httpRoute: { enabled: true, parentRefs: [{ name: 'gateway' }], hostnames: ['events.example.com'] },
    networkPolicy: {
      eventsFrom: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress' } } }],
      brokerTo: [{ ipBlock: { cidr: '10.0.0.0/8' } }],
      storeTo: [{ podSelector: { matchLabels: { app: 'minio' } } }],
      extraEgress: [{ ports: [{ port: 4318, protocol: 'TCP' }] }],
    },
    metrics: { podMonitor: { enabled: true }, rules: { enabled: true }, dashboard: { enabled: true } },
  },
  'an HPA of archivers on a metric of the queue': {
    archive: {
      autoscaling: {
        type: 'hpa',
        metrics: [
          {
            type: 'External',
            external: {
              metric: { name: 'frequency_queue_messages' },
              target: { type: 'AverageValue', averageValue: '20k' },
            },
          },
        ],
      },
    },
  },
  'no spool': { ingest: { persistence: { enabled: false } } },
  'no spool, and volumes': {
    ingest: { persistence: { enabled: false } },
    ca: { existingConfigMap: 'authority' },
  },
  'no class of storage': { ingest: { persistence: { storageClass: '-' } } },
  'a node port': {
    ingest: { service: { type: 'NodePort', nodePort: 30_080 } },
    writeKeys: { anonymous: true },
  },
  'own service accounts': {
    ingest: { serviceAccount: { create: false } },
    archive: { serviceAccount: { create: false } },
  },
  'a long name': { fullnameOverride: `${'very-long-'.repeat(8)}name`, jobs: { compact: { enabled: true } } },
  'IPv6 only': { listenAddress: '::' },
  'no policies': {
    networkPolicy: { enabled: false },
    ingest: { podDisruptionBudget: { enabled: false } },
    archive: { podDisruptionBudget: { enabled: false } },
  },
  'an archive on a volume': {
    archive: {
      url: '/archive',
      extraVolumes: [{ name: 'archive', persistentVolumeClaim: { claimName: 'archive' } }],
      extraVolumeMounts: [{ name: 'archive', mountPath: '/archive' }],
    },
  },
  'a job of their own': { jobs: { weekly: { enabled: true, schedule: '0 4 * * 0', args: ['log', 'show'] } } },
  'no pause before SIGTERM': { ingest: { preStopSeconds: 0, shutdownSeconds: 120 } },
  'values of a parent chart': { global: { imageRegistry: 'registry.example.com' } },
}

/** By a name for people. */
export const combinations: Record<string, Values> = Object.fromEntries(
  Object.entries(changes).map(([name, change]) => [name, merged(required, change)]),
)

/** Values that are refused, and what the message says. */
export const refusals: readonly (readonly [Values, RegExp])[] = [
  [{}, /broker\.existingSecret: name the Secret/],
  [{ broker: required.broker }, /archive\.url: say where/],
  ...(
    [
      [{ ingest: { replica: 2 } }, /replica/],
      [{ settings: { BATCH_EVENT_MAX: 5 } }, /BATCH_EVENT_MAX/],
      [{ settings: { AMQP_URL: 'amqp://user:password@rabbit' } }, /AMQP_URL/],
      [{ settings: { BATCH_EVENTS_MAX: true } }, /BATCH_EVENTS_MAX/],
      [{ archive: { url: 'bucket' } }, /url/],
      [{ archive: { url: '/data/archive' } }, /archive\.url: \/data\/archive is in no volume/],
      [{ archive: { url: 'file:///data/archive' } }, /archive\.url: .* is in no volume/],
      [{ ingest: { persistence: { size: '12 GB' } } }, /size/],
      [
        { ingress: { enabled: true, hosts: [{ host: 'a.example.com' }] } },
        /writeKeys\.existingSecret: without write keys/,
      ],
      [{ ingest: { service: { type: 'LoadBalancer' } } }, /writeKeys\.existingSecret: without write keys/],
      [{ writeKeys: { anonymous: true }, ingress: { enabled: true } }, /ingress\.hosts: name a host/],
      [
        { writeKeys: { anonymous: true }, httpRoute: { enabled: true } },
        /httpRoute\.parentRefs: name the Gateway/,
      ],
      [{ plugins: { existingConfigMap: 'plugins' } }, /plugins\.files: name the keys/],
      [
        { plugins: { existingConfigMap: 'plugins', files: ['a.mjs'] }, settings: { PLUGINS: './b.mjs' } },
        /PLUGINS: it follows from plugins\.files/,
      ],
      [{ commonLabels: { 'app.kubernetes.io/name': 'events' } }, /propertyName 'app\.kubernetes\.io/],
      [{ archive: { autoscaling: { type: 'hpa' } } }, /archive\.autoscaling\.metrics: name a metric/],
      [{ ingest: { persistence: { enabled: false }, settings: { SPOOL: 'on' } } }, /SPOOL: it is off/],
    ] as const
  ).map(([change, message]) => [merged(required, change), message] as const),
]
