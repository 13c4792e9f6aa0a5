/** A temporary copy of the tree to which breaks are applied. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { applied, type Break } from './break.ts'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const NODE_MODULES = 'node_modules'
const LEFT_OUT: ReadonlySet<string> = new Set([NODE_MODULES, '.git', '.tap', 'dist'])

export class TreeCopy {
  readonly path = mkdtempSync(join(tmpdir(), 'frequency-breaks-'))

  constructor() {
    const isCopied = (path: string) =>
      dirname(path) !== dirname(join(ROOT, '_')) || !LEFT_OUT.has(basename(path))
    cpSync(ROOT, this.path, { recursive: true, filter: isCopied })
    symlinkSync(join(ROOT, NODE_MODULES), join(this.path, NODE_MODULES))
  }

  /** Runs `work` while the break is applied. @throws Error if the text does not occur exactly once */
  async whileBroken<T>(each: Break, work: () => Promise<T>): Promise<T> {
    const path = join(this.path, each.file)
    const content = readFileSync(path, 'utf8')
    writeFileSync(path, applied(each, content))
    try {
      return await work()
    } finally {
      writeFileSync(path, content)
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
