/** A machine with a C library and nothing else, for the executable: a chroot, read-only but for one directory. */
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, linkSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Test } from 'tap'
import { startProgram } from '../bin/program.ts'
import { type Program, ROOT } from '../services/program.ts'

/** No user of this machine. */
const USER = 12_345
const DATA = '/data'

export interface BareMachine {
  /** The writable directory, for this test. */
  readonly data: string
  /** The writable directory, for the executable. */
  readonly inside: string
  start(args: readonly string[], env?: NodeJS.ProcessEnv): Program
}

/** Whether this user may make one. Only root of a Linux machine may. */
export const canBeMade = process.platform === 'linux' && process.getuid?.() === 0

/** @param executable is put at /frequency */
export function makeBareMachine(t: Test, executable: string): BareMachine {
  const root = mkdtempSync(join(ROOT, '.tap', 'bare-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  for (const library of librariesOf(executable)) copyInto(root, library)
  linkSync(executable, join(root, 'frequency'))
  mkdirSync(join(root, 'dev'))
  // Node opens it for a child process without standard input.
  execFileSync('mknod', ['-m', '666', join(root, 'dev', 'null'), 'c', '1', '3'])
  const data = join(root, DATA)
  mkdirSync(data, { mode: 0o700 })
  chownSync(data, USER, USER)
  chmodSync(root, 0o555)
  const start = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Program =>
    startProgram(t, '/frequency', {
      isExecutable: true,
      under: ['chroot', `--userspec=${USER}:${USER}`, root],
      args,
      env: { DATA_DIR: DATA, ARCHIVE_URL: `${DATA}/archive`, ...env },
      cwd: root,
    })
  return { data, inside: DATA, start }
}

/** Runs the executable on this machine, for users who cannot make another. */
export function thisMachine(t: Test, executable: string): BareMachine {
  const data = mkdtempSync(join(ROOT, '.tap', 'data-'))
  t.teardown(() => rmSync(data, { recursive: true, force: true }))
  const start = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Program =>
    startProgram(t, executable, {
      isExecutable: true,
      args,
      env: { DATA_DIR: data, ARCHIVE_URL: join(data, 'archive'), ...env },
      cwd: data,
    })
  return { data, inside: data, start }
}

/** @returns the paths of the shared libraries, and of what loads them */
function librariesOf(executable: string): string[] {
  const text = execFileSync('ldd', [executable], { encoding: 'utf8' })
  return Array.from(text.matchAll(/(?:=> |^\s+)(\/\S+)/gm), ([, path = '']) => path)
}

function copyInto(root: string, path: string): void {
  const copy = join(root, path)
  mkdirSync(dirname(copy), { recursive: true })
  copyFileSync(path, copy)
  chmodSync(copy, basename(path).startsWith('ld-') ? 0o555 : 0o444)
}
