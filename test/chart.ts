/** Writes what is made of other files: in the chart, and its output in ops/kubernetes. Needs Helm or Go. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CHART, MANIFESTS, madeFiles, manifests } from './ops/chart/files.ts'
import { renderedManifest } from './ops/chart/render.ts'

for (const [path, text] of Object.entries(madeFiles())) writeFileSync(join(CHART, path), text)
for (const manifest of manifests)
  writeFileSync(join(MANIFESTS, manifest.file), await renderedManifest(manifest))
