/** The output of the chart. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CHART, KUBERNETES, MANIFESTS, type Manifest, manifestText, NAMESPACE, RELEASE } from './files.ts'
import { yamlText } from './objects.ts'
import { type Ran, ranTool, toolPath } from './tools.ts'

/** `helm template` with a file of values. */
export async function rendered(valuesPath: string, args: readonly string[] = []): Promise<Ran> {
  const helm = await toolPath('helm')
  return ranTool(helm, [
    ...['template', RELEASE, CHART, '--namespace', NAMESPACE, '--kube-version', KUBERNETES],
    ...['--values', valuesPath, ...args],
  ])
}

/** @param path a new file, for the values */
export async function renderedWith(path: string, values: unknown): Promise<Ran> {
  writeFileSync(path, yamlText(values))
  return rendered(path)
}

/** @throws Error with the message of Helm, if it cannot render the chart */
export async function renderedManifest(manifest: Manifest): Promise<string> {
  const { code, stdout, stderr } = await rendered(join(MANIFESTS, manifest.values))
  if (code !== 0) throw new Error(stderr)
  return manifestText(manifest, stdout)
}
