/** The units, and what makes their user and the permissions of their settings. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { type Test, test } from 'tap'
import { settingsFiles } from '../../deb/settings-files.ts'
import { readConfig } from '../../src/config/config.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { output } from '../services/daemon.ts'
import { ensureServers, SYSTEMD_PACKAGES, serverPath } from '../services/install.ts'
import { ROOT } from '../services/program.ts'

const HERE = join(ROOT, 'ops', 'systemd')
const UNITS = readdirSync(HERE).filter(name => name.endsWith('.service'))
/** systemd-analyze counts tenths: 2.0. */
const EXPOSURE_MAX = 20
const TIMEOUT_MS = 60_000

function run(command: string, ...args: readonly string[]): Promise<string> {
  return output(serverPath(command), args, { timeoutMs: TIMEOUT_MS })
}

function textOf(unit: string): string {
  return readFileSync(join(HERE, unit), 'utf8')
}

/** The last value of a setting in a unit. */
function lastValue(unit: string, name: string): string {
  const values = Array.from(
    textOf(unit).matchAll(new RegExp(`^${name}=(.*)$`, 'gm')),
    ([, value = '']) => value,
  )
  return values.at(-1) ?? ''
}

/** An empty root directory with the units and what they need, as the package has them. */
function rootDirectory(t: Test): string {
  const root = temporaryDirectory(t)
  const add = (path: string, text: string, mode: number): void => {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), text, { mode })
  }
  for (const unit of UNITS) add(`usr/lib/systemd/system/${unit}`, textOf(unit), 0o644)
  add('usr/bin/frequency', '', 0o755)
  add('usr/lib/sysusers.d/frequency.conf', readFileSync(join(HERE, 'frequency.sysusers'), 'utf8'), 0o644)
  add('usr/lib/tmpfiles.d/frequency.conf', readFileSync(join(HERE, 'frequency.tmpfiles'), 'utf8'), 0o644)
  for (const [name, text] of Object.entries(settingsFiles())) add(`etc/frequency/${name}`, text, 0o666)
  return root
}

test('the units', async t => {
  await ensureServers(SYSTEMD_PACKAGES)
  t.equal(UNITS.length, 3)

  t.test('the exposure that systemd-analyze counts is at most 2.0', async t => {
    for (const unit of UNITS) {
      const args = [
        'security',
        '--offline=yes',
        `--threshold=${EXPOSURE_MAX}`,
        '--no-pager',
        join(HERE, unit),
      ]
      const [, exposure = ''] =
        /exposure level for \S+: ([\d.]+)/.exec(await run('systemd-analyze', ...args)) ?? []
      t.ok(Number(exposure) > 0 && Number(exposure) * 10 <= EXPOSURE_MAX, `${unit}: ${exposure}`)
    }
  })

  t.test('systemd-analyze finds nothing wrong in them', async t => {
    const root = rootDirectory(t)
    // Without this option it also reports the targets, which are not in this directory.
    const args = ['verify', '--man=no', '--recursive-errors=no', `--root=${root}`]
    await t.resolves(run('systemd-analyze', ...args, ...UNITS))
    const wrong = join(root, 'usr/lib/systemd/system', 'wrong.service')
    writeFileSync(wrong, textOf('frequency.service').replace('KillMode=mixed', 'KillMode=some\nNope=1'))
    await t.rejects(run('systemd-analyze', ...args, 'wrong.service'), /kill mode.*Nope/s)
  })

  t.test('they differ in role, directory and settings alone', async t => {
    for (const unit of UNITS) {
      const name = unit.replace('.service', '')
      const role = name.replace(/^frequency-?/, '') || 'all'
      const general = textOf(unit)
        .replace(/^Description=.*$/m, 'Description=')
        .replace(`--role=${role}`, '--role=all')
        .replaceAll(`/var/lib/${name}\n`, '/var/lib/frequency\n')
        .replace(`StateDirectory=${name}\n`, 'StateDirectory=frequency\n')
        .replace(`EnvironmentFile=-/etc/frequency/${role}.env\n`, '')
      t.equal(general, textOf('frequency.service').replace(/^Description=.*$/m, 'Description='), unit)
      t.match(lastValue(unit, 'Description'), /^frequency: ./)
    }
  })

  t.test('their limits have room for the defaults of the program', async t => {
    const { connectionsMax, shutdownMsMax } = configOf()
    for (const unit of UNITS) {
      t.ok(Number(lastValue(unit, 'LimitNOFILE')) > 2 * connectionsMax)
      const [, seconds] = /^(\d+)s$/.exec(lastValue(unit, 'TimeoutStopSec')) ?? []
      t.ok(Number(seconds) * 1000 > shutdownMsMax + 10_000)
    }
  })

  t.test('the user is made, and only its group reads the settings', async t => {
    const root = rootDirectory(t)
    await run('systemd-sysusers', `--root=${root}`, 'frequency.conf')
    const passwd = readFileSync(join(root, 'etc/passwd'), 'utf8')
    const [, uid, gid] =
      /^frequency:[^:]*:(\d+):(\d+):.*:\/var\/lib\/frequency:\/usr\/sbin\/nologin$/m.exec(passwd) ?? []
    t.ok(Number(uid) > 0 && Number(uid) < 1000, 'a system user')
    if (process.getuid?.() !== 0) return
    copyFileSync(join(root, 'etc/frequency/ingest.env'), join(root, 'etc/frequency/added.env'))
    await run('systemd-tmpfiles', `--root=${root}`, '--create', 'frequency.conf')
    for (const name of ['env', 'ingest.env', 'archive.env', 'added.env']) {
      const { mode, uid: owner, gid: group } = statSync(join(root, 'etc/frequency', name))
      t.same([mode & 0o777, owner, group], [0o640, 0, Number(gid)], name)
    }
  })
})

test('the settings of the units can be used as they are', async t => {
  const { env = '', 'ingest.env': ingest = '', 'archive.env': archive = '' } = settingsFiles()
  t.same(parseEnv(env), {}, 'nothing is set')
  t.notMatch(env, /^#?ROLE=/m, 'the unit has the role')
  const uncommented = parseEnv(env.replaceAll(/^#(?! )/gm, ''))
  t.same(readConfig({}, uncommented), configOf({ DATA_DIR: '/var/lib/frequency' }))
  t.same(parseEnv(ingest), {})
  t.same(parseEnv(archive), { PORT: '4001' }, 'another port than that of ingest')
})
