/** The workflows for GitHub Actions: what can be checked without GitHub. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { ROOT } from '../services/program.ts'

const DIRECTORY = join(ROOT, '.github/workflows')
const SHA = /^[\w-]+\/[\w-]+(?:\/[\w-]+)*@[0-9a-f]{40} # v\d+\.\d+\.\d+$/

interface Step {
  readonly name?: string
  readonly run?: string
  readonly uses?: string
  readonly with?: Record<string, unknown>
}

interface Job {
  readonly 'timeout-minutes'?: number
  readonly permissions?: Record<string, string>
  readonly steps: readonly Step[]
}

interface Workflow {
  readonly permissions?: Record<string, string>
  readonly concurrency?: unknown
  readonly jobs: Record<string, Job>
}

const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

for (const file of readdirSync(DIRECTORY))
  t.test(file, async t => {
    const text = readFileSync(join(DIRECTORY, file), 'utf8')
    const workflow: Workflow = parse(text)
    t.same(workflow.permissions, { contents: 'read' }, 'may read only, unless a job says more')
    t.ok(workflow.concurrency, 'says what happens to two runs at once')
    for (const [name, job] of Object.entries(workflow.jobs)) {
      t.type(job['timeout-minutes'], 'number', `${name} has a time limit`)
      for (const step of job.steps) {
        for (const [, script = ''] of (step.run ?? '').matchAll(/\bnpm run (?:--silent )?([\w:-]+)/g))
          t.ok(script in scripts, `${name}: npm run ${script}`)
        for (const [path] of (step.run ?? '').matchAll(/(?:^|\s)(?:\.ci|test)\/[\w./-]+/g))
          t.ok(existsSync(join(ROOT, path.trim())), `${name}: ${path}`)
        if (step.uses?.startsWith('actions/checkout@'))
          t.equal(step.with?.['persist-credentials'], false, `${name} keeps no token in the checkout`)
        t.notMatch(step.run ?? '', /\$\{\{/, `${name}: no expression becomes a part of a script`)
      }
    }
    for (const [, uses = ''] of text.matchAll(/^\s*(?:- )?uses: (.*)$/gm)) t.match(uses, SHA, uses)
  })

t.test('only a tag that is the version is released', async t => {
  const release: Workflow = parse(readFileSync(join(DIRECTORY, 'release.yml'), 'utf8'))
  const steps = release.jobs.package?.steps ?? []
  const check = steps.findIndex(({ run }) => run?.includes('release:notes -- "$GITHUB_REF_NAME"'))
  const upload = steps.findIndex(({ uses }) => uses?.startsWith('actions/upload-artifact'))
  t.ok(check > 0 && check < upload, 'the tag is compared before a file is made')
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const notes = (tag: string) =>
    spawnSync('npm', ['run', '--silent', 'release:notes', '--', tag], { cwd: ROOT, encoding: 'utf8' })
  t.match(notes('v99.0.0'), { status: 1, stderr: /The tag v99\.0\.0 is not the version/ })
  t.match(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'), `## ${version} - `)
})

t.test('actionlint has no complaint, where it is installed', async t => {
  const { status, stdout, error } = spawnSync('actionlint', ['-no-color'], { cwd: ROOT, encoding: 'utf8' })
  if (error !== undefined) return t.comment('actionlint is not installed: see docs/releasing.md.')
  t.equal(status, 0, stdout)
})
