/**
 * The image of `Containerfile`, built by buildah. Nothing is pulled: root file systems of Debian packages stand for the
 * base images.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { BUILD_PACKAGES, ensureServers } from '../services/install.ts'
import { ROOT } from '../services/program.ts'
import { makeBuildTree, makeRuntimeTree } from './debian-tree.ts'

const BUILD_MS_MAX = 600_000
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024
const NAME = 'localhost/frequency:test'
export const LABELS = {
  VERSION: '1.2.3',
  REVISION: 'abc',
  CREATED: '2026-01-02T03:04:05Z',
  SOURCE: 'https://x.test/y',
}

/** The part of https://github.com/opencontainers/image-spec/blob/main/config.md, and of Docker's format, that is used. */
export interface ImageConfig {
  readonly User: string
  readonly Env: readonly string[]
  readonly Entrypoint: readonly string[]
  readonly Cmd: readonly string[]
  readonly WorkingDir: string
  readonly Volumes: Readonly<Record<string, unknown>>
  readonly ExposedPorts: Readonly<Record<string, unknown>>
  readonly Labels: Readonly<Record<string, string>>
  readonly StopSignal: string
  readonly Healthcheck: {
    readonly Test: readonly string[]
    readonly Interval: number
    readonly Timeout: number
  }
}

export interface Image {
  readonly config: ImageConfig
  /** Where its root file system is mounted. */
  readonly root: string
  /** Of all layers, without the base. */
  readonly bytes: number
}

/** Whether this user may build and run one. Only root of a Linux machine may. */
export const canBeBuilt = process.platform === 'linux' && process.getuid?.() === 0

/**
 * @param executable stands for what the build stage makes. Without it the stage runs, from the files of the checkout
 * @returns the image. It is removed when this process ends
 */
export async function buildImage(executable?: string): Promise<Image> {
  if (!canBeBuilt) throw new Error('The image can be built and run only by root of a Linux machine.')
  await ensureServers(BUILD_PACKAGES)
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  const directory = mkdtempSync(join(ROOT, '.tap', 'image-'))
  const builder = new Builder(directory)
  process.on('exit', () => builder.close())
  builder.addBase('base', makeRuntimeTree)
  const context = executable === undefined ? builder.buildStage() : builder.madeStage(executable)
  const args = { BASE_IMAGE: 'localhost/base:latest', ...LABELS }
  builder.build(context, args)
  return builder.image()
}

class Builder {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  addBase(name: string, make: (root: string) => void): void {
    const tree = join(this.#directory, `${name}-tree`)
    mkdirSync(tree)
    make(tree)
    const container = this.#run('from', 'scratch').trim()
    this.#run('add', '--quiet', container, tree, '/')
    this.#run('commit', '--quiet', '--rm', container, `localhost/${name}:latest`)
    rmSync(tree, { recursive: true })
  }

  /** @returns options with which the build stage runs, with npm's settings and cache of this user */
  buildStage(): string[] {
    this.addBase('build', makeBuildTree)
    const npmrc = join(this.#directory, 'npmrc')
    const own = join(homedir(), '.npmrc')
    const certificates = '/etc/ssl/certs'
    const lines = [
      existsSync(own) ? readFileSync(own, 'utf8') : '',
      'prefer-offline=true',
      'cache=/npm-cache',
      ...(existsSync(certificates) ? [`cafile=${certificates}/ca-certificates.crt`] : []),
    ]
    writeFileSync(npmrc, lines.join('\n'), { mode: 0o600 })
    const cache = execFileSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).trim()
    mkdirSync(cache, { recursive: true })
    return [
      '--build-arg=BUILD_IMAGE=localhost/build:latest',
      `--secret=id=npmrc,src=${npmrc}`,
      `--volume=${cache}:/npm-cache`,
      ...(existsSync(certificates) ? [`--volume=${certificates}:${certificates}:ro`] : []),
    ]
  }

  /** @returns options with which the files of the build stage come from a directory */
  madeStage(executable: string): string[] {
    const stage = join(this.#directory, 'stage')
    const documents = join(stage, 'image', 'usr', 'share', 'doc', 'frequency')
    mkdirSync(join(stage, 'owned', 'data'), { recursive: true, mode: 0o700 })
    cpSync(executable, join(stage, 'image', 'usr', 'local', 'bin', 'frequency'))
    cpSync(`${executable}-licenses.txt`, join(documents, 'licenses.txt'))
    cpSync(join(ROOT, 'LICENSE'), join(documents, 'LICENSE'))
    return ['--build-arg=BUILD_IMAGE=scratch', `--build-context=build=${stage}`]
  }

  build(options: readonly string[], args: Readonly<Record<string, string>>): void {
    this.#run(
      'build',
      '--isolation=chroot',
      '--network=host',
      '--format=docker',
      '--layers=false',
      '--pull=false',
      ...Object.entries(args).map(([name, value]) => `--build-arg=${name}=${value}`),
      ...options,
      `--tag=${NAME}`,
      `--file=${join(ROOT, 'Containerfile')}`,
      ROOT,
    )
  }

  image(): Image {
    const { Docker } = JSON.parse(this.#run('inspect', '--type=image', NAME))
    const container = this.#run('from', NAME).trim()
    const root = this.#run('mount', container).trim()
    const bytes = Number(
      execFileSync('du', ['-sb', join(root, 'usr/local')], { encoding: 'utf8' }).split('\t')[0],
    )
    return { config: Docker.config, root, bytes }
  }

  close(): void {
    for (const command of ['umount', 'rm']) {
      try {
        this.#run(command, '--all')
      } catch {
        // Nothing was mounted.
      }
    }
    rmSync(this.#directory, { recursive: true, force: true })
  }

  #run(command: string, ...args: string[]): string {
    const storage = ['--root', join(this.#directory, 'storage'), '--runroot', join(this.#directory, 'run')]
    try {
      return execFileSync('buildah', [...storage, command, ...args], {
        encoding: 'utf8',
        stdio: 'pipe',
        timeout: BUILD_MS_MAX,
        maxBuffer: OUTPUT_BYTES_MAX,
      })
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: string; stderr?: string }
      throw new Error(`buildah ${command} failed:\n${stdout}${stderr}`, { cause: error })
    }
  }
}
