/** The site as it was built: its files, what they link to, and a server for them. */
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, normalize, relative } from 'node:path'
import type { Test } from 'tap'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.webp': 'image/webp',
}

export interface Link {
  /** From the root of the site, as `decisions/index.html`. */
  readonly page: string
  readonly url: string
}

export class BuiltSite {
  readonly #dir: string
  readonly #base: string
  readonly #files: ReadonlySet<string>
  readonly #texts = new Map<string, string>()

  /** @param base path of the site, with a slash at both ends */
  constructor(dir: string, base: string) {
    this.#dir = dir
    this.#base = base
    const entries = readdirSync(dir, { recursive: true, withFileTypes: true })
    this.#files = new Set(
      entries.filter(entry => entry.isFile()).map(entry => relative(dir, join(entry.parentPath, entry.name))),
    )
  }

  get pages(): string[] {
    return Array.from(this.#files).filter(file => file.endsWith('.html') && file !== '404.html')
  }

  get texts(): string[] {
    return Array.from(this.#files).filter(file => /\.(?:html|css|js)$/.test(file))
  }

  textOf(file: string): string {
    const text = this.#texts.get(file) ?? readFileSync(join(this.#dir, file), 'utf8')
    this.#texts.set(file, text)
    return text
  }

  /** What the pages link to, and load. */
  links(): Link[] {
    return this.pages.flatMap(page =>
      Array.from(this.textOf(page).matchAll(/\s(?:href|src)="([^"]*)"/g), ([, url = '']) => ({
        page,
        url: url.replaceAll('&amp;', '&'),
      })),
    )
  }

  /** @returns why the link leads nowhere; undefined if it leads somewhere, or out of the site */
  fault({ page, url }: Link): string | undefined {
    if (/^(?:https?|mailto|data):/.test(url)) return undefined
    const { pathname, hash } = new URL(url, `http://site${this.#base}${page}`)
    if (!pathname.startsWith(this.#base)) return `is not below ${this.#base}`
    const file = this.#fileOf(pathname)
    if (!this.#files.has(file)) return 'there is no such file'
    const id = decodeURIComponent(hash.slice(1))
    if (id === '' || this.textOf(file).includes(` id="${id}"`)) return undefined
    return 'there is no such heading'
  }

  /** @returns the URL of the site */
  async serve(t: Test): Promise<string> {
    const server = createServer((request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://site')
      const file = pathname.startsWith(this.#base) ? this.#fileOf(pathname) : ''
      const isThere = this.#files.has(file)
      response.writeHead(isThere ? 200 : 404, { 'content-type': TYPES[extname(file)] ?? 'text/plain' })
      response.end(isThere ? readFileSync(join(this.#dir, file)) : undefined)
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}${this.#base}`
  }

  #fileOf(pathname: string): string {
    const path = decodeURIComponent(pathname.slice(this.#base.length))
    return normalize(path === '' || path.endsWith('/') ? `${path}index.html` : path)
  }
}
