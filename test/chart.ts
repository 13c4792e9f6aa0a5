/**
 * Writes what is made of other files: in the chart, and its output in ops/kubernetes. Manifests that have to
 * be rendered again need Helm or Go.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CHART, MANIFESTS, madeFiles, manifests, staleness } from './ops/chart/files.ts'
import { renderedManifest } from './ops/chart/render.ts'

for (const [path, text] of Object.entries(madeFiles())) writeFileSync(join(CHART, path), text)
for (const manifest of manifests) {
  const path = join(MANIFESTS, manifest.file)
  const isCurrent = existsSync(path) && staleness(manifest, readFileSync(path, 'utf8')) === undefined
  if (!isCurrent) writeFileSync(path, await renderedManifest(manifest))
}
