/** The single executable, built once for all ways that contain it. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { buildBinary } from '../../binary/build.ts'
import { ROOT } from '../services/program.ts'

let built: Promise<string> | undefined

/** Resolves to its path. It is removed when this process ends. */
export function builtBinary(): Promise<string> {
  built ??= build()
  return built
}

async function build(): Promise<string> {
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  const directory = mkdtempSync(join(ROOT, '.tap', 'binary-'))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  const { path } = await buildBinary(join(directory, 'frequency'))
  return path
}
