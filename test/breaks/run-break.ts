import { type Break, type Check, nameOf } from './break.ts'
import { type CheckResult, failureIn, runCheck } from './run-check.ts'
import type { TreeCopy } from './tree.ts'

export interface BreakResult {
  readonly each: Break
  /** The check that failed; undefined if none did. */
  readonly noticedBy: Check | undefined
  /** The first failure of that check. */
  readonly failure: string | undefined
  /** The time of all checks that were run. */
  readonly ms: number
}

/** Applies breaks to one copy of the tree, one at a time, and runs their checks. */
export class BreakRunner {
  readonly #copy: TreeCopy
  readonly #stopping: AbortSignal
  /** The result of each check without a break, by its name. */
  readonly #unbroken = new Map<string, CheckResult>()

  constructor(copy: TreeCopy, stopping: AbortSignal) {
    this.#copy = copy
    this.#stopping = stopping
  }

  /** The output of checks that fail without a break, and so show nothing; by their names. */
  get useless(): ReadonlyMap<string, string> {
    const failed = [...this.#unbroken].filter(([, { outcome }]) => outcome !== 'passed')
    return new Map(failed.map(([name, { output }]) => [name, output]))
  }

  /** @throws Error if the text does not occur exactly once, or when stopping */
  async run(each: Break): Promise<BreakResult> {
    let ms = 0
    for (const check of each.checks) {
      const unbroken = await this.#runUnbroken(check)
      if (unbroken.outcome !== 'passed') continue
      const result = await this.#copy.whileBroken(each, () =>
        runCheck(check, { path: this.#copy.path, unbrokenMs: unbroken.ms, stopping: this.#stopping }),
      )
      ms += result.ms
      const failure = result.outcome === 'hung' ? 'it hung' : failureIn(result.output)
      if (result.outcome !== 'passed') return { each, noticedBy: check, failure, ms }
    }
    return { each, noticedBy: undefined, failure: undefined, ms }
  }

  async #runUnbroken(check: Check): Promise<CheckResult> {
    const name = nameOf(check)
    const known = this.#unbroken.get(name)
    if (known !== undefined) return known
    const result = await runCheck(check, {
      path: this.#copy.path,
      unbrokenMs: undefined,
      stopping: this.#stopping,
    })
    this.#unbroken.set(name, result)
    return result
  }
}
