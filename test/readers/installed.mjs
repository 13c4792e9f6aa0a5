// Loads libraries of other programs from TEST_READERS_PATH, where `npm run test:readers` installs them.
import { createRequire } from 'node:module'
import { join } from 'node:path'

const { TEST_READERS_PATH } = process.env

export const fromReaders = createRequire(
  TEST_READERS_PATH === undefined ? import.meta.url : join(TEST_READERS_PATH, 'package.json'),
)
