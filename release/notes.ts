/**
 * Prints the notes of a release, from CHANGELOG.md:
 *
 *     npm run --silent release:notes -- v0.2.0
 *
 * GITHUB_SERVER_URL and GITHUB_REPOSITORY make links to documents absolute.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { notesOf } from './changelog.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository } = process.env
const tag = process.argv[2]

try {
  if (tag === undefined) throw new Error('Usage: npm run --silent release:notes -- TAG')
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const changelog = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8')
  const baseUrl = repository === undefined ? undefined : `${server}/${repository}/blob/${tag}`
  process.stdout.write(notesOf({ changelog, tag, version, baseUrl }))
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}
