import { chmodSync, chownSync } from 'node:fs'
import type { Test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'

/** @param user of the image, as `number:number` @returns a directory of that user, removed at the end of the test */
export function makeVolume(t: Test, user: string): string {
  const directory = temporaryDirectory(t)
  const [uid, gid] = user.split(':').map(Number) as [number, number]
  chownSync(directory, uid, gid)
  chmodSync(directory, 0o700)
  return directory
}
