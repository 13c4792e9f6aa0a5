/** Objects of Kubernetes, as far as the tests read them. */
import { parseAllDocuments, stringify } from 'yaml'

export type Labels = Record<string, string>

export interface Selector {
  matchLabels?: Labels
  matchExpressions?: { key: string; operator: string; values: string[] }[]
}

export interface Variable {
  name: string
  value?: string
  valueFrom?: { secretKeyRef?: { name: string; key: string } }
}

export interface Port {
  name: string
  containerPort: number
}

export interface Probe {
  httpGet?: { path: string; port: string | number }
  periodSeconds?: number
  failureThreshold?: number
}

export interface Container {
  name: string
  image: string
  args?: string[]
  env?: Variable[]
  ports?: Port[]
  startupProbe?: Probe
  livenessProbe?: Probe
  readinessProbe?: Probe
  lifecycle?: { preStop?: { sleep?: { seconds: number } } }
  resources?: { requests?: Labels; limits?: Labels }
  securityContext?: Record<string, unknown> & { capabilities?: { drop?: string[]; add?: string[] } }
  volumeMounts?: { name: string; mountPath: string; subPath?: string; readOnly?: boolean }[]
}

export interface PodSpec {
  containers: Container[]
  initContainers?: Container[]
  serviceAccountName?: string
  automountServiceAccountToken?: boolean
  enableServiceLinks?: boolean
  hostNetwork?: boolean
  hostPID?: boolean
  hostIPC?: boolean
  securityContext?: Record<string, unknown> & { seccompProfile?: { type: string } }
  terminationGracePeriodSeconds?: number
  topologySpreadConstraints?: { labelSelector: Selector }[]
  volumes?: (Record<string, unknown> & { name: string })[]
}

export interface PodTemplate {
  metadata: { labels: Labels }
  spec: PodSpec
}

export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Labels; annotations?: Labels }
  // The members differ from kind to kind.
  // biome-ignore lint/suspicious/noExplicitAny: read by tests of single kinds
  spec?: any
  data?: Labels
}

/** @throws Error if the text is not YAML, or a key occurs twice */
export function objectsIn(text: string): KubernetesObject[] {
  return parseAllDocuments(text, { version: '1.1' })
    .map(document => {
      if (document.errors.length > 0) throw document.errors[0]
      return document.toJS() as KubernetesObject | null
    })
    .filter(object => object !== null)
}

/** The template of an object's pods; undefined if it has none. */
export function podTemplateOf({ kind, metadata, spec }: KubernetesObject): PodTemplate | undefined {
  if (kind === 'Pod') return { metadata: { labels: metadata.labels ?? {} }, spec }
  if (kind === 'CronJob') return spec.jobTemplate.spec.template
  return spec?.template
}

export function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([name, value]) => labels[name] === value) &&
    matchExpressions.every(
      ({ key, operator, values }) => operator === 'In' && values.includes(labels[key] ?? ''),
    )
  )
}

/** Text for Helm and kubectl, which read YAML 1.1: there a text `off` needs quotation marks. */
export function yamlText(value: unknown): string {
  return stringify(value, { version: '1.1' })
}
