/** A pod of the manifests, as its container would run here: its variables and arguments, and its volumes as directories. */
import { randomInt } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { startProgram } from '../../bin/program.ts'
import { temporaryDirectory } from '../../helpers/helper.ts'
import type { Program } from '../../services/program.ts'
import { until } from '../../services/wait.ts'
import { MANIFESTS } from './files.ts'
import { type Container, objectsIn, type Probe, podTemplateOf, type Variable } from './objects.ts'

/** The keys of each Secret. */
export type Secrets = Record<string, Record<string, string>>

/** All addresses of 127.0.0.0/8 are loopback on Linux, so a pod can have the ports of its manifest. */
const LOOPBACK = process.platform === 'linux' ? `127.${randomInt(1, 255)}.${randomInt(256)}` : undefined

interface Given {
  /** Of the built program. */
  readonly program: string
  readonly secrets: Secrets
  /** Variables whose values the manifest cannot know, as that of the archive. */
  readonly env: Record<string, string>
}

export class StartedPod {
  readonly container: Container
  readonly address: string
  readonly #t: Test
  readonly #given: Given
  readonly #root: string

  /** @param number differs between pods */
  constructor(t: Test, kind: string, number: number, given: Given) {
    this.#t = t
    this.#given = given
    this.#root = temporaryDirectory(t)
    this.address = LOOPBACK === undefined ? '127.0.0.1' : `${LOOPBACK}.${number}`
    const object = objectsIn(readFileSync(join(MANIFESTS, 'frequency.yaml'), 'utf8')).find(
      each => each.kind === kind,
    )
    const spec = object && podTemplateOf(object)?.spec
    const container = spec?.containers[0]
    if (spec === undefined || container === undefined) throw new Error(`No ${kind} has a container`)
    this.container = container
    for (const { mountPath } of container.volumeMounts ?? [])
      mkdirSync(this.pathOf(mountPath), { recursive: true })
    for (const { name, secret } of (spec.volumes ?? []) as { name: string; secret?: SecretVolume }[]) {
      const mount = container.volumeMounts?.find(each => each.name === name)
      if (secret !== undefined && mount !== undefined) this.mount(mount.mountPath, secret)
    }
  }

  /** Runs the image's entry point. @param args default: those of the manifest */
  start(args: readonly string[] = this.container.args ?? []): Program {
    return startProgram(this.#t, this.#given.program, { args, env: this.#env(), cwd: this.pathOf('/data') })
  }

  /** Writes a Secret as the kubelet does: into a new directory, to which a link is moved. */
  mount(mountPath: string, { secretName, items = [] }: SecretVolume): void {
    const directory = this.pathOf(mountPath)
    const version = `..${randomInt(1e9)}`
    mkdirSync(join(directory, version))
    for (const { key, path } of items) {
      writeFileSync(join(directory, version, path), this.#secret(secretName, key))
      rmSync(join(directory, path), { force: true })
      symlinkSync(join('..data', path), join(directory, path))
    }
    symlinkSync(version, join(directory, '..data_tmp'))
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
  }

  /** Resolves when a probe of a server succeeds. @throws Error if it fails as often as it may, or the server ends */
  async passes(probe: Probe, server: Program): Promise<void> {
    const { path, port } = probe.httpGet ?? { path: '', port: '' }
    const number = this.container.ports?.find(each => each.name === port)?.containerPort
    const { failureThreshold = 3, periodSeconds = 10 } = probe
    const isSuccess = (): Promise<boolean> => {
      server.assertRunning()
      return fetch(`http://${this.address}:${number}${path}`).then(
        ({ status }) => status >= 200 && status < 400,
        () => false,
      )
    }
    await until(`${path} of the port ${port} answers`, failureThreshold * periodSeconds * 1_000, isSuccess)
  }

  port(name: string): number | undefined {
    return this.container.ports?.find(each => each.name === name)?.containerPort
  }

  /** Where a path of the container is here. */
  pathOf(path: string): string {
    const mount = this.container.volumeMounts?.find(
      ({ mountPath }) => path === mountPath || dirname(path) === mountPath,
    )
    return mount === undefined ? path : join(this.#root, path)
  }

  #env(): Record<string, string> {
    const variables = (this.container.env ?? []).map(variable => [variable.name, this.#value(variable)])
    return { ...Object.fromEntries(variables), ...this.#given.env }
  }

  #value({ value, valueFrom }: Variable): string {
    const reference = valueFrom?.secretKeyRef
    if (reference !== undefined) return this.#secret(reference.name, reference.key)
    return value === '0.0.0.0' ? this.address : this.pathOf(value ?? '')
  }

  #secret(name: string, key: string): string {
    const text = this.#given.secrets[name]?.[key]
    if (text === undefined) throw new Error(`The manifests want the key ${key} of the Secret ${name}`)
    return text
  }
}

interface SecretVolume {
  readonly secretName: string
  readonly items?: readonly { key: string; path: string }[]
}
