import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { neededServers, SERVERS } from './needed-servers.ts'

/** Writes files into a directory that is removed with the test. @returns a function that gives their paths */
function write(t: Test, files: Record<string, string>): (name: string) => string {
  const directory = temporaryDirectory(t)
  mkdirSync(join(directory, 'helpers'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
  return name => join(directory, name)
}

const FILES = {
  'helpers/broker.ts': `export const url = process.env.TEST_AMQP_URL`,
  'helpers/ctl.ts': `export const env = process.env.TEST_RABBITMQCTL_ENV`,
  'helpers/bucket.ts': `export const endpoint = process.env.TEST_S3_ENDPOINT`,
  'helpers/between.ts': `import type { url } from './broker.ts'\nimport { circle } from '../circle.test.ts'`,
  'parser.test.ts': `import t from 'tap'\nimport { temporaryDirectory } from './nowhere.ts'`,
  'broker.test.ts': `import {\n  url,\n} from './helpers/broker.ts'`,
  'ctl.test.ts': `import './helpers/ctl.ts'`,
  'bucket.test.ts': `const { endpoint } = await import('./helpers/bucket.ts')`,
  'circle.test.ts': `import { url } from './helpers/between.ts'`,
}

t.test('a test file needs the servers that it or what it imports uses', async t => {
  const path = write(t, FILES)
  const cases: [string[], string[]][] = [
    [['parser.test.ts'], []],
    [['broker.test.ts'], ['rabbitmq']],
    [['ctl.test.ts'], ['rabbitmq']],
    [['bucket.test.ts'], ['s3']],
    [['circle.test.ts'], ['rabbitmq']],
    [['parser.test.ts', 'bucket.test.ts'], ['s3']],
    [
      ['broker.test.ts', 'bucket.test.ts'],
      ['rabbitmq', 's3'],
    ],
  ]
  for (const [names, servers] of cases)
    t.same([...neededServers(names.map(path)).servers], servers, names.join(' and '))
})

t.test('options and their values change nothing', async t => {
  const path = write(t, FILES)
  const { servers } = neededServers(['--disable-coverage', '-g', 'a name', path('parser.test.ts')])
  t.same([...servers], [])
})

t.test('a run that does not say which tests gets all servers', async t => {
  const path = write(t, FILES)
  for (const args of [[], ['--bail'], [path('helpers')], [path('parser.test.ts'), path('helpers')]])
    t.same([...neededServers(args).servers], SERVERS, args.join(' '))
  t.same([...neededServers([path('helpers/broker.ts')]).servers], SERVERS, 'a program that is not a test')
})

t.test('programs are installed for servers that run, and for a test that starts its own', async t => {
  const path = write(t, FILES)
  const own = join(import.meta.dirname, '..', 'contract', 'store-writers.test.ts')
  t.equal(neededServers([path('parser.test.ts')]).hasPrograms, false)
  t.equal(neededServers([path('bucket.test.ts')]).hasPrograms, true)
  t.equal(neededServers([]).hasPrograms, true)
  t.same(neededServers([own]), { servers: new Set(), hasPrograms: true })
})
