/** Pages of a web site, for a real browser. */
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { BrowserContext, Page } from 'playwright-core'
import type { Test } from 'tap'

const BUNDLES = fileURLToPath(
  new URL('../../node_modules/@segment/analytics-next/dist/umd/', import.meta.url),
)

export interface Site {
  readonly origin: string
}

/**
 * Serves a site whose origin differs from the server under test. Each path is a page with this HTML, except
 * `/bundles/…`, which are the files of the package @segment/analytics-next.
 */
export async function serveSite(t: Test, html: string): Promise<Site> {
  const server = createServer((request, response) => {
    const bundle = /^\/bundles\/([\w.-]+\.js)$/.exec(request.url ?? '')?.[1]
    response.setHeader('content-type', bundle === undefined ? 'text/html; charset=utf-8' : 'text/javascript')
    if (bundle === undefined) response.end(html)
    else createReadStream(BUNDLES + bundle).pipe(response)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

/** Opens a page. An error that the page throws fails the test. */
export async function openPage(t: Test, browser: BrowserContext, url: string): Promise<Page> {
  const page = await browser.newPage()
  page.on('pageerror', error => t.fail(`The page threw ${error.message}`))
  await page.goto(url)
  return page
}
