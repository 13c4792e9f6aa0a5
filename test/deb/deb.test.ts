/** Parts of the Debian package. `npm run test:ways -- deb` builds and installs all of it. */
import { execFileSync, spawnSync } from 'node:child_process'
import { test } from 'tap'
import { createProgram } from '../../bin/commands.ts'
import { debianVersion } from '../../deb/control.ts'
import { manualPage } from '../../deb/manual-page.ts'
import { settings } from '../../src/config/config.ts'

test('dpkg sorts versions as npm does', async t => {
  const versions = ['0.1.0', '0.2.0-rc.1', '0.2.0-rc.2', '0.2.0', '0.10.0'].map(debianVersion)
  t.same(versions.slice(0, 2), ['0.1.0-1', '0.2.0~rc.1-1'])
  for (const [n, version] of versions.entries()) {
    if (n === 0) continue
    const { status } = spawnSync('dpkg', ['--compare-versions', version, 'gt', String(versions[n - 1])])
    t.equal(status, 0, `${version} is higher than ${versions[n - 1]}`)
  }
})

test('the manual page has each command and each setting', async t => {
  const page = manualPage('1.2.3', new Date(0))
  const lines = page.replaceAll('\\-', '-')
  for (const command of createProgram().commands) t.ok(lines.includes(`.SS "frequency ${command.name()} `))
  for (const { flag } of settings) t.ok(lines.includes(`\n.B ${flag} <value>\n`), flag)
  t.match(lines, /^\.SS "frequency dead retry /m, 'a command below another')
  t.match(lines, /^Exit code: 0 if the counts add up/m, 'what is after the options in the help')
  t.match(page, /^\.TH FREQUENCY 1 "1970-01-01" "frequency 1\.2\.3"/)
  const requests = new Set(Array.from(page.matchAll(/^[.'](\S*)/gm), ([, name]) => name))
  t.same([...requests].sort(), ['B', 'BR', 'I', 'IR', 'PP', 'SH', 'SS', 'TH', 'TP', 'fi', 'nf'])
})

test('each maintainer script is a shell script', async t => {
  for (const name of ['postinst', 'prerm', 'postrm']) {
    const path = new URL(`../../deb/scripts/${name}`, import.meta.url).pathname
    t.doesNotThrow(() => execFileSync('sh', ['-n', path]), name)
  }
})
