/**
 * Runs the main job in each way to start frequency, and prints a line for each:
 *
 *     npm run test:ways [-- WAY…]
 */
import t, { type Test } from 'tap'
import { binary } from './binary.ts'
import { checkout } from './checkout.ts'
import { deb } from './deb.ts'
import { image } from './image.ts'
import { mainJob, type Way } from './main-job.ts'
import { packaged, plugin } from './package.ts'

const WAY_MS_MAX = 300_000
/** Each makes a way for a test. What several ways share lives as long as the second test. */
const WAYS: Record<string, (t: Test, suite: Test) => Promise<Way>> = {
  checkout,
  package: packaged,
  binary,
  image,
  deb,
  plugin,
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter(name => !(name in WAYS))
if (unknown.length > 0)
  throw new Error(`There is no way ${unknown.join(', ')}. There are ${Object.keys(WAYS).join(', ')}.`)

const lines: string[] = []
t.setTimeout(Object.keys(WAYS).length * WAY_MS_MAX)
for (const [name, make] of Object.entries(WAYS))
  if (wanted.length === 0 || wanted.includes(name))
    t.test(name, { timeout: WAY_MS_MAX }, async way => {
      lines.push(await mainJob(way, await make(way, t)))
    })
t.teardown(() => process.stderr.write(`${lines.join('\n')}\n`))
