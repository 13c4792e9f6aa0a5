/**
 * Builds the site with the packages of its lock file, checks all links and anchors, and looks at each page in Chromium,
 * on a desk and on a phone:
 *
 *     npm run test:site
 *
 * With SITE_PICTURES=DIRECTORY it leaves pictures of the pages there.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { pageOf } from '../../site/pages.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { openBrowser } from '../services/chromium.ts'
import { ROOT } from '../services/program.ts'
import { BuiltSite } from './built-site.ts'

const SITE = join(ROOT, 'site')
/** Not the root, as it is on GitHub Pages. */
const BASE = '/some/where/'
const BUILD_MS_MAX = 300_000
const SCREENS = [
  { name: 'desk', viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
  { name: 'phone', viewport: { width: 390, height: 844 }, colorScheme: 'light' },
] as const
const PICTURES = process.env.SITE_PICTURES

t.setTimeout(2 * BUILD_MS_MAX)
await install()
const site = await build('')
const url = await site.serve(t)

async function install(): Promise<void> {
  await npm(['ci', '--prefer-offline', '--no-audit', '--no-fund'], {})
}

async function build(repositoryUrl: string): Promise<BuiltSite> {
  const outDir = temporaryDirectory(t)
  await npm(['run', 'build'], { BASE, OUT_DIR: outDir, REPOSITORY_URL: repositoryUrl })
  return new BuiltSite(outDir, BASE)
}

async function npm(args: readonly string[], settings: NodeJS.ProcessEnv): Promise<void> {
  const startedAt = Date.now()
  const env = { ...process.env, NODE_OPTIONS: '', ...settings }
  await promisify(execFile)('npm', args, { cwd: SITE, env, timeout: BUILD_MS_MAX })
  t.comment(`npm ${args[0]}: ${((Date.now() - startedAt) / 1000).toFixed(1)} s`)
}

t.test('with a repository each page leads to its source there', async t => {
  const linked = await build('https://example.com/frequency')
  for (const [page, source] of [
    ['query.html', 'docs/query.md'],
    ['first-steps.html', 'README.md'],
  ] as const)
    t.match(linked.textOf(page), `href="https://example.com/frequency/edit/HEAD/${source}"`)
})

t.test('its sources have no type errors', async t => {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, '-p', SITE]).catch(error => error)
  t.equal(stdout, '')
})

/** Documents, as paths from the root of the repository. */
function documents(): string[] {
  const inFolder = (folder: string) =>
    readdirSync(join(ROOT, folder))
      .filter(name => name.endsWith('.md'))
      .map(name => join(folder, name))
  return ['.', 'docs', 'docs/decisions', 'bench'].flatMap(inFolder)
}

t.test('each document is a page, and the sidebar leads to it', async t => {
  const sidebar = /<aside class="VPSidebar.*?<\/aside>/s.exec(site.textOf('first-steps.html'))?.[0] ?? ''
  for (const document of documents()) {
    const page = pageOf(document)?.replace(/\.md$/, '.html')
    t.ok(page !== undefined && site.pages.includes(page), `${document} is the page ${page}`)
    t.ok(sidebar.includes(`href="${BASE}${page?.replace(/index\.html$/, '')}"`), `${page} is in the sidebar`)
  }
  t.equal(site.pages.length, documents().length + 1, 'there is no other page but the first')
})

t.test('each link leads to a file, and to a heading of it', async t => {
  const links = site.links()
  t.ok(links.length > 2_000, `${links.length} links`)
  t.ok(links.some(({ url }) => url.includes('#')))
  t.same(
    links.flatMap(link => site.fault(link) ?? []).length,
    0,
    links
      .flatMap(link => (site.fault(link) ? `${link.page}: ${link.url}: ${site.fault(link)}` : []))
      .join('\n'),
  )
})

t.test('the first page has the commands of the README', async t => {
  const blocks = (file: string) =>
    Array.from(readFileSync(join(ROOT, file), 'utf8').matchAll(/^```sh\n.*?^```/gms), ([block]) => block)
  t.same(blocks('site/index.md'), blocks('README.md').slice(0, 2))
})

for (const { name, viewport, colorScheme } of SCREENS) {
  t.test(`on a ${name}`, async t => {
    const browser = await openBrowser(t, { viewport, colorScheme })
    const page = browser.pages()[0] ?? (await browser.newPage())
    const faults: string[] = []
    page.on('console', message => {
      if (message.type() !== 'log') faults.push(`${page.url()}: ${message.text()}`)
    })
    page.on('pageerror', error => faults.push(`${page.url()}: ${error.message}`))
    page.on('requestfailed', request => {
      // Pages fetch others ahead, and such requests end when the next page is opened.
      const reason = request.failure()?.errorText
      if (reason !== 'net::ERR_ABORTED') faults.push(`${request.url()}: ${reason}`)
    })
    page.on('response', response => {
      if (response.status() >= 400) faults.push(`${response.url()}: ${response.status()}`)
    })
    page.on('request', request => {
      if (!/^data:/.test(request.url()) && !request.url().startsWith(url))
        faults.push(`loads ${request.url()}`)
    })

    await t.test('every page fits, and is whole', async t => {
      for (const path of site.pages) {
        await page.goto(url + path, { waitUntil: 'load' })
        t.same(await page.evaluate(TOO_WIDE), [], `${path} fits`)
        t.same(await page.evaluate(BROKEN_IMAGES), [], `${path} has its images`)
        if (PICTURES !== undefined) await picture(page, `${path.replace('/', '-')}-${name}`)
      }
    })
    await t.test('the first page says all in one screen', async t => {
      await page.goto(url, { waitUntil: 'load' })
      for (const selector of ['h1', '.words > p', '.words div[class*=language-]', '.picture']) {
        const boxes = await page.locator(`.start ${selector} >> visible=true`).all()
        t.ok(boxes.length > 0, selector)
        for (const each of boxes) {
          const box = await each.boundingBox()
          t.ok(
            box && box.y + box.height <= viewport.height,
            `${selector} ends at ${box && box.y + box.height}`,
          )
        }
      }
    })
    await t.test('the search finds a setting', t => searchFinds(t, page))
    t.same(faults, [], 'nothing fails, and no other host is asked')
  })
}

async function searchFinds(t: Test, page: Page): Promise<void> {
  // Idle, so that the scripts of the page listen.
  await page.goto(url, { waitUntil: 'networkidle' })
  await page.click('#local-search button')
  await page.fill('#localsearch-input', 'DEDUPE_WINDOW_MS')
  const found = page.locator('#localsearch-list a[href*="settings.html"]').first()
  await found.click()
  await page.waitForURL(/settings\.html/)
  await page.locator('h1', { hasText: 'Settings' }).waitFor()
  t.match(await page.title(), /^Settings/)
}

async function picture(page: Page, name: string): Promise<void> {
  mkdirSync(PICTURES as string, { recursive: true })
  await page.screenshot({ path: join(PICTURES as string, `${name}.png`) })
}

/** Names what is wider than the screen and cannot be scrolled by itself. */
const TOO_WIDE = `(() => {
  const width = document.documentElement.clientWidth
  if (document.documentElement.scrollWidth <= width) return []
  const names = []
  for (const element of document.querySelectorAll('body *')) {
    if (element.getBoundingClientRect().right <= width + 1) continue
    let parent = element.parentElement
    while (parent && !/auto|scroll|hidden|clip/.test(getComputedStyle(parent).overflowX)) parent = parent.parentElement
    if (parent === null) names.push(element.tagName + ' ' + element.textContent.slice(0, 40))
  }
  return names.length > 0 ? names : ['the page']
})()`

const BROKEN_IMAGES = `(async () => {
  const shown = [...document.images].filter(image => image.checkVisibility())
  await Promise.all(shown.map(image => image.decode().catch(() => {})))
  return shown.filter(image => image.naturalWidth === 0).map(image => image.src)
})()`
