/**
 * Takes the pictures of the live page for the documents, in docs/images/: runs the built program, sends it events like
 * those of a shop, and takes a screenshot in Chromium after MINUTES.
 *
 *     npm run pictures
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Browser, chromium } from 'playwright-core'
import { buildProgram } from '../build.ts'
import { CHROMIUM_FLAGS } from '../test/services/chromium.ts'
import { BROWSER_PACKAGES, ensureServers, serverPath } from '../test/services/install.ts'
import { BUILT_PROGRAM, DIST, Program, ROOT } from '../test/services/program.ts'
import { Workspace } from '../test/services/workspace.ts'

const MINUTES = 4
const STEP_MS = 100
const EVENTS_A_SECOND = 26
/** The mean rate rises and falls by this share, every PERIOD_MS. */
const SWING = 0.6
const PERIOD_MS = 100_000
const SIZE = { width: 1200, height: 900 }
const FOLDER = join(ROOT, 'docs/images')

const PLANS = ['free', 'pro', 'team']
const PAGES = ['/', '/pricing', '/docs', '/blog/launch', '/account']
const EVENTS: readonly ((user: number) => object)[] = [
  () => ({ event: 'page_viewed', properties: { path: pick(PAGES), ms: Math.round(Math.random() * 900) } }),
  () => ({ event: 'page_viewed', properties: { path: pick(PAGES), referrer: 'https://search.example' } }),
  () => ({ event: 'signed_up', properties: { plan: pick(PLANS) } }),
  user => ({ event: 'order_completed', properties: { order: 1000 + user, total: 49.9, currency: 'EUR' } }),
  () => ({ event: 'search', properties: { query: 'red shoes', results: 12 } }),
  () => ({ event: 'mail_opened', properties: { campaign: 'november' } }),
]

await ensureServers(BROWSER_PACKAGES)
await buildProgram(DIST)
const workspace = new Workspace('pictures')
try {
  await takePictures(await serve())
} finally {
  await workspace.close()
}

async function serve(): Promise<string> {
  const program = new Program(BUILT_PROGRAM, {
    name: 'server',
    workspace,
    cwd: workspace.dir,
    env: { PORT: '0' },
  })
  return await program.listening()
}

async function takePictures(url: string): Promise<void> {
  const browser = await chromium.launch({
    executablePath: serverPath('chromium'),
    args: [...CHROMIUM_FLAGS],
  })
  try {
    const open = async (colorScheme: 'light' | 'dark') => {
      const page = await browser.newPage({ colorScheme, viewport: SIZE })
      await page.goto(url)
      return page
    }
    const [light, dark] = [await open('light'), await open('dark')]
    await sendEvents(url, MINUTES * 60_000)
    mkdirSync(FOLDER, { recursive: true })
    const [ofLight, ofDark] = await Promise.all([light.screenshot(), dark.screenshot()])
    writeFileSync(join(FOLDER, 'live-page.webp'), await webp(browser, ofLight))
    writeFileSync(join(FOLDER, 'live-page-dark.webp'), await webp(browser, ofDark))
  } finally {
    await browser.close()
  }
}

/** A third as large as PNG. */
async function webp(browser: Browser, png: Buffer): Promise<Buffer> {
  const page = await browser.newPage()
  const url = await page.evaluate<string>(`(async () => {
    const image = new Image()
    image.src = 'data:image/png;base64,${png.toString('base64')}'
    await image.decode()
    const canvas = document.createElement('canvas')
    canvas.width = image.width
    canvas.height = image.height
    canvas.getContext('2d').drawImage(image, 0, 0)
    return canvas.toDataURL('image/webp', 0.9)
  })()`)
  return Buffer.from(url.slice(url.indexOf(',') + 1), 'base64')
}

async function sendEvents(url: string, ms: number): Promise<void> {
  const startedAt = Date.now()
  while (Date.now() - startedAt < ms) {
    const wave = 1 + SWING * Math.sin((2 * Math.PI * (Date.now() - startedAt)) / PERIOD_MS)
    const mean = (EVENTS_A_SECOND * STEP_MS * wave) / 1000
    const count = Math.round(mean * (0.5 + Math.random()))
    await Promise.all(Array.from({ length: count }, () => send(url)))
    if (Math.random() < 0.005) await post(url, { user_id: 'u17', properties: { plan: 'pro' } })
    await sleep(STEP_MS)
  }
}

async function send(url: string): Promise<void> {
  const user = Math.floor(Math.random() * 900)
  const status = await post(url, { ...pick(EVENTS)(user), user_id: `u${user}` })
  if (status !== 200) throw new Error(`An event was answered with ${status}.`)
}

async function post(url: string, event: object): Promise<number> {
  const body = JSON.stringify(event)
  const answer = await fetch(`${url}/api/t`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  await answer.arrayBuffer()
  return answer.status
}

function pick<T>(of: readonly T[]): T {
  return of[Math.floor(Math.random() * of.length)] as T
}
