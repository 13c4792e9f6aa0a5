/** A real, headless browser for tests of pages. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, type BrowserContextOptions, chromium } from 'playwright-core'
import type { Test } from 'tap'
import { BROWSER_PACKAGES, ensureServers, serverPath } from './install.ts'

/** The browser sends requests only to the servers of the page. */
export const CHROMIUM_FLAGS: readonly string[] = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/**
 * Starts a browser with a new profile. At the end of the test it is closed and its profile removed.
 *
 * @param flags more flags of Chromium
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
    args: [...CHROMIUM_FLAGS, ...flags],
    ...options,
  })
  t.teardown(async () => {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
  })
  return browser
}
