/** `npm run test:image`: builds the image with all of its stages, and runs the main job in its containers. */
import t from 'tap'
import { wayOf } from '../ways/image.ts'
import { mainJob } from '../ways/main-job.ts'
import { buildImage } from './built-image.ts'

const SUITE_MS_MAX = 900_000

t.setTimeout(SUITE_MS_MAX)
t.test('the image with all of its stages', { timeout: SUITE_MS_MAX }, async t => {
  t.comment(await mainJob(t, await wayOf(t, await buildImage())))
})
