/** Helm and kubeconform: from PATH, or built with Go. */
import { execFile } from 'node:child_process'
import { accessSync, constants, mkdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from '../../services/program.ts'

const OUTPUT_BYTES_MAX = 256 * 1024 * 1024
const BUILT = join(ROOT, '.tap', 'chart-tools')
const PACKAGES = {
  helm: 'helm.sh/helm/v3/cmd/helm@v3.22.0',
  kubeconform: 'github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0',
} as const

const run = promisify(execFile)

/** @returns the path of a tool. @throws Error if it is not on PATH, and cannot be built because Go is not either */
export async function toolPath(name: keyof typeof PACKAGES): Promise<string> {
  const built = join(BUILT, name)
  const found = onPath(name) ?? (isExecutable(built) ? built : undefined)
  if (found !== undefined) return found
  const go = onPath('go')
  if (go === undefined)
    throw new Error(
      `${name} is not on PATH. Install it, or Go, with which it is built: go install ${PACKAGES[name]}`,
    )
  process.stderr.write(`Building ${name} with Go. This takes a minute or two.\n`)
  mkdirSync(BUILT, { recursive: true })
  await run(go, ['install', PACKAGES[name]], { env: { ...process.env, GOBIN: BUILT, GOFLAGS: '' } })
  return built
}

/** @returns the directory of a Go module's sources. @throws Error if Go is not on PATH */
export async function goModule(module: string): Promise<string> {
  const go = onPath('go')
  if (go === undefined)
    throw new Error(`Go is not on PATH. The schemas of Kubernetes are read from its module ${module}.`)
  const { stdout } = await run(go, ['mod', 'download', '-json', module], { cwd: '/' })
  return (JSON.parse(stdout) as { Dir: string }).Dir
}

export function hasGo(): boolean {
  return onPath('go') !== undefined
}

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a tool to its end, whatever its exit code is. */
export async function ranTool(path: string, args: readonly string[]): Promise<Ran> {
  try {
    return { code: 0, ...(await run(path, args, { maxBuffer: OUTPUT_BYTES_MAX })) }
  } catch (error) {
    const { code, stdout, stderr } = error as Ran
    if (typeof code !== 'number') throw error
    return { code, stdout, stderr }
  }
}

function onPath(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map(directory => join(directory, name))
    .find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
