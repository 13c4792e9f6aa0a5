/** The image: each start is a container of its own, with the same volume. */
import type { Test } from 'tap'
import { buildImage, type Image } from '../image/built-image.ts'
import { startContainer } from '../image/container.ts'
import { checkConfig, checkDefaults } from '../image/image-checks.ts'
import { makeVolume } from '../image/volume.ts'
import { builtBinary } from './built-binary.ts'
import type { Way } from './main-job.ts'

/** The main job asks all routes of one port, on the loopback interface of this machine. */
const SETTINGS = { HOST: '127.0.0.1', ADMIN_HOST: '127.0.0.1', ADMIN_PORT: '' }

/** The executable is built by this machine, and not in the image's build stage: `npm run test:image` runs that too. */
export async function image(t: Test): Promise<Way> {
  return await wayOf(t, await buildImage(await builtBinary()))
}

export async function wayOf(t: Test, image: Image): Promise<Way> {
  checkConfig(t, image)
  await checkDefaults(t, image)
  const volume = makeVolume(t, image.config.User)
  return {
    name: 'image',
    start: (args, env) => startContainer(t, image, { args, env: { ...SETTINGS, ...env }, volume }),
  }
}
