/** A real browser without a window, for tests of pages. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, type BrowserContextOptions, chromium } from 'playwright-core'
import type { Test } from 'tap'
import { BROWSER_PACKAGES, ensureServers, serverPath } from './install.ts'

/** It asks nobody but the page's own server. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/**
 * Starts a browser with a profile of its own; both go with the test.
 *
 * @param flags of Chromium, besides those that it always has
 */
export async function openBrowser(
  t: Test,
  options: BrowserContextOptions = {},
  flags: readonly string[] = [],
): Promise<BrowserContext> {
  await ensureServers(BROWSER_PACKAGES)
  const profile = mkdtempSync(join(tmpdir(), 'frequency-chromium-'))
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: serverPath('chromium'),
    headless: true,
    args: [...FLAGS, ...flags],
    ...options,
  })
  t.teardown(async () => {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
  })
  return browser
}
