/** The change log has the form that the release needs, and gives the notes of a release. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { notesOf, versionsOf } from '../../release/changelog.ts'
import { ROOT } from '../services/program.ts'

const KINDS = ['Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security']
const CHANGELOG = `# Changelog

## Unreleased

## 1.1.0 - 2026-12-01

### Added

- A thing: [docs/thing.md](docs/thing.md#how), [elsewhere](https://example.com/x).

## 1.0.0 - 2026-11-01

### Fixed

- Another.
`

t.test('CHANGELOG.md: versions in order, with dates, and only the usual kinds of changes', async t => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const versions = versionsOf(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'))
  const [unreleased, ...released] = versions
  t.equal(unreleased?.name, 'Unreleased', 'what is not released is on top')
  t.equal(released[0]?.name, version, 'the version of package.json is the newest')
  const dates = released.map(({ date }) => date)
  t.same(dates, dates.toSorted().toReversed(), 'the newest is first')
  for (const { name, text } of versions) {
    const kinds = Array.from(text.matchAll(/^### (.*)$/gm), ([, kind = '']) => kind)
    t.same(
      kinds,
      KINDS.filter(kind => kinds.includes(kind)),
      `${name}: ${kinds.join(', ')}`,
    )
  }
})

t.test('notes are the entries of one version', async t => {
  const options = { changelog: CHANGELOG, tag: 'v1.1.0', version: '1.1.0' }
  t.equal(
    notesOf({ ...options, baseUrl: 'https://host/me/it/blob/v1.1.0' }),
    '### Added\n\n- A thing: [docs/thing.md](https://host/me/it/blob/v1.1.0/docs/thing.md#how), [elsewhere](https://example.com/x).\n',
  )
  t.match(notesOf(options), '[docs/thing.md](docs/thing.md#how)')
  t.equal(
    notesOf({ ...options, tag: 'v1.0.0', version: '1.0.0' }),
    '### Fixed\n\n- Another.\n',
    'of the last one too',
  )
})

t.test('no notes for a release that is not ready', async t => {
  const options = { changelog: CHANGELOG, tag: 'v1.1.0', version: '1.1.0' }
  t.throws(() => notesOf({ ...options, tag: 'v1.2.0' }), { message: /^The tag v1\.2\.0 is not the version/ })
  t.throws(() => notesOf({ ...options, tag: 'v2.0.0', version: '2.0.0' }), {
    message: /^CHANGELOG\.md has no entries for 2\.0\.0/,
  })
  t.throws(
    () => notesOf({ ...options, changelog: CHANGELOG.replace('Unreleased\n', 'Unreleased\n\n- New.\n') }),
    {
      message: /^CHANGELOG\.md: move the entries under Unreleased to 1\.1\.0/,
    },
  )
  t.throws(() => versionsOf('## 1.0.0\n'), { message: /the heading "## 1\.0\.0" must be/ })
})
