/** What a user of the image relies on: its settings, its health check, and that it needs no setting at all. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Image, LABELS } from './built-image.ts'
import { startContainer } from './container.ts'
import { makeVolume } from './volume.ts'

const BYTES_MAX = 130e6
const END_MS_MAX = 20_000
const SECOND_NS = 1e9

export function checkConfig(t: Test, { config, bytes, root }: Image): void {
  t.match(config.User, /^[1-9]\d*:[1-9]\d*$/, 'the user is a number other than root')
  t.strictSame(Object.keys(config.Volumes), ['/data'])
  // An engine gives a new volume the owner and the mode of this directory.
  const { uid, gid, mode } = statSync(join(root, '/data'))
  t.match({ owner: `${uid}:${gid}`, mode: mode & 0o777 }, { owner: config.User, mode: 0o700 })
  t.strictSame(Object.keys(config.ExposedPorts).sort(), ['4000/tcp', '4001/tcp'])
  t.strictSame([config.Entrypoint.length, config.Cmd], [1, ['serve']], 'no shell between')
  t.equal(config.StopSignal, 'SIGTERM')
  t.equal(config.Healthcheck.Test[0], 'CMD', 'the health check needs no shell')
  t.equal(config.Healthcheck.Timeout, 5 * SECOND_NS)
  const label = (name: string): string | undefined => config.Labels[`org.opencontainers.image.${name}`]
  t.strictSame(['version', 'revision', 'created', 'source', 'licenses', 'base.name'].map(label), [
    LABELS.VERSION,
    LABELS.REVISION,
    LABELS.CREATED,
    LABELS.SOURCE,
    'MIT',
    'localhost/base:latest',
  ])
  t.ok(bytes < BYTES_MAX, `${(bytes / 1e6).toFixed(1)} MB besides the base`)
}

/** With nothing but a volume: it takes events on one port, and health, metrics and the page are on the other. */
export async function checkDefaults(t: Test, image: Image): Promise<void> {
  const volume = makeVolume(t, image.config.User)
  const health = image.config.Healthcheck.Test.slice(1)
  const away = startContainer(t, image, { args: health.slice(1), volume, hasOwnNetwork: true })
  t.match(await away.endsWithin(END_MS_MAX), { code: 1 }, 'without a server it is not healthy')
  t.match(away.stderr, /nothing listens there/)

  const container = startContainer(t, image, { volume, hasOwnNetwork: true })
  t.equal(await container.listening(), 'http://0.0.0.0:4000')
  const status = (path: string, ...options: string[]): string =>
    container.fromNetwork(
      'curl',
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      ...options,
      `127.0.0.1:${path}`,
    )
  t.equal(status('4000/api/t', '-d', 'event=signed_up'), '200')
  for (const path of ['/', '/healthz', '/metrics', '/status', '/documentation/json'])
    t.equal(status(`4000${path}`), '404', `${path} is not where events are sent`)
  t.equal(status('4001/metrics'), '200')
  t.equal(status('4001/'), '403', 'the page is closed until UI_TOKEN is set')

  const check = container.run(t, health)
  t.match(await check.endsWithin(END_MS_MAX), { code: 0 }, `healthy: ${check.stderr}`)
  t.match(JSON.parse(check.stdout), { status: 'ok', role: 'all' })
  t.match(await container.stop(), { code: 0 }, 'the first process of the container ends on SIGTERM')
}
