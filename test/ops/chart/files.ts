/**
 * Files of the chart that are made from others, and the manifests that are its output.
 *
 * Helm is not at hand everywhere. So each manifest begins with two digests: of everything that it was rendered from, and
 * of the rest of the file. A test without Helm compares both.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../services/program.ts'
import { valuesSchema } from './values-schema.ts'

export const CHART = join(ROOT, 'ops/helm/frequency')
export const MANIFESTS = join(ROOT, 'ops/kubernetes')
/** Helm takes it as the version of the cluster. */
export const KUBERNETES = '1.37.2'
export const RELEASE = 'frequency'
export const NAMESPACE = 'frequency'
const HEAD =
  /^# Rendered by `npm run chart` from ops\/helm\/frequency and (\S+)\. Do not edit\.\n# from (\w+)\n# text (\w+)\n/

export interface Manifest {
  /** In ops/kubernetes. */
  readonly file: string
  readonly values: string
  /** Whether a document of this kind belongs to the file. */
  readonly has: (kind: string) => boolean
}

const MONITORING = new Set(['PodMonitor', 'PrometheusRule', 'ConfigMap'])

export const manifests: readonly Manifest[] = [
  { file: 'frequency.yaml', values: 'values.yaml', has: kind => !MONITORING.has(kind) },
  { file: 'monitoring.yaml', values: 'values.yaml', has: kind => MONITORING.has(kind) },
]

/** Files of the chart with the text that they should have, by their path in the chart. */
export function madeFiles(): Record<string, string> {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const chart = readFileSync(join(CHART, 'Chart.yaml'), 'utf8')
  return {
    'Chart.yaml': chart
      .replace(/^version: .*$/m, `version: ${version}`)
      .replace(/^appVersion: .*$/m, `appVersion: ${JSON.stringify(version)}`),
    'values.schema.json': valuesSchema(),
    'files/alerts.yml': readFileSync(join(ROOT, 'ops/alerts.yml'), 'utf8'),
    'files/grafana-dashboard.json': readFileSync(join(ROOT, 'ops/grafana-dashboard.json'), 'utf8'),
  }
}

/** Files of the chart that do not change its output. A new setting needs no Helm. */
const WITHOUT_OUTPUT = new Set(['values.schema.json', 'README.md', '.helmignore', 'NOTES.txt'])

/** The digest of all that a manifest is rendered from: the chart, and its values. */
export function inputDigest({ values }: Manifest): string {
  const hash = createHash('sha256')
  const files = readdirSync(CHART, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && !WITHOUT_OUTPUT.has(entry.name))
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
  for (const path of [...files, join(MANIFESTS, values)])
    hash
      .update(`${path.slice(ROOT.length)}\n`)
      .update(readFileSync(path))
      .update('\0')
  return hash.digest('hex').slice(0, 32)
}

/** @param rendered the output of `helm template` */
export function manifestText(manifest: Manifest, rendered: string): string {
  const documents = rendered
    .split(/^---\n/m)
    .filter(text => manifest.has(/^kind: (\w+)$/m.exec(text)?.[1] ?? 'none') && /^kind:/m.test(text))
    // A pod of `helm test`.
    .filter(text => !text.includes('helm.sh/hook'))
    .map(text =>
      text
        .replace(/^# Source: .*\n/m, '')
        .replace(/^ +(?:app\.kubernetes\.io\/managed-by|helm\.sh\/chart): .*\n/gm, ''),
    )
  const text = documents.map(each => `---\n${each.trimEnd()}\n`).join('')
  return (
    `# Rendered by \`npm run chart\` from ops/helm/frequency and ${manifest.values}. Do not edit.\n` +
    `# from ${inputDigest(manifest)}\n# text ${digestOf(text)}\n${text}`
  )
}

/** Why a manifest in the repository is not what the chart renders; undefined if it is. */
export function staleness(manifest: Manifest, text: string): string | undefined {
  const [head, , from, digest] = HEAD.exec(text) ?? []
  if (head === undefined) return 'it has no head'
  if (from !== inputDigest(manifest)) return 'the chart or its values have changed'
  if (digest !== digestOf(text.slice(head.length))) return 'it was edited'
  return undefined
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}
