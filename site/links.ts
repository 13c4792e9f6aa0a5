/** Links of the documents lead from file to file of the repository. Here they become links from page to page. */
import { copyFileSync, existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { MarkdownRenderer } from 'vitepress'
import { pageOf, sourceOf } from './pages.ts'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Files that are no pages, and that pages link to. */
const linkedFiles = new Set<string>()

interface LinkOptions {
  /** Path of the site, with a slash at its end. */
  readonly base: string
  /** URL of the repository, for links to files that are no pages. Without it, these files are published beside the pages. */
  readonly repositoryUrl: string | undefined
}

/** A plugin of markdown-it. @throws Error for a link to a file that does not exist */
export function repositoryLinks(md: MarkdownRenderer, options: LinkOptions): void {
  md.core.ruler.push('repository_links', state => {
    // The search index names the source, all else the page.
    const { relativePath } = state.env as { relativePath: string }
    const source = pageOf(relativePath) === undefined ? sourceOf(relativePath) : relativePath
    for (const { children } of state.tokens) {
      let isOpen = true
      for (const token of children ?? []) {
        if (token.type === 'link_close') token.hidden = !isOpen
        if (token.type === 'link_open') isOpen = true
        const href = token.type === 'link_open' ? token.attrGet('href') : null
        if (href === null || /^(?:[a-z]+:|#)/i.test(href)) continue
        const [path = '', anchor] = decodeURI(href).split('#')
        const file = normalize(join(dirname(source), path))
        const page = pageOf(file)
        if (page !== undefined) {
          token.attrSet('href', `/${page}${anchor === undefined ? '' : `#${anchor}`}`)
          continue
        }
        const url = urlOfFile(file, options)
        isOpen = url !== undefined
        token.hidden = !isOpen
        // The target keeps VitePress from reading the URL as that of a page.
        if (url !== undefined) token.attrs = [...(token.attrs ?? []), ['target', '_self']]
        token.attrSet('href', url ?? '')
      }
    }
  })
}

/** @returns undefined for a folder, if there is no repository to show it */
function urlOfFile(file: string, { base, repositoryUrl }: LinkOptions): string | undefined {
  const path = join(ROOT, file)
  if (!existsSync(path)) throw new Error(`There is no file ${file}.`)
  const isFolder = statSync(path).isDirectory()
  if (repositoryUrl !== undefined) return `${repositoryUrl}/${isFolder ? 'tree' : 'blob'}/HEAD/${file}`
  if (isFolder) return undefined
  linkedFiles.add(file)
  return `${base}files/${file}`
}

export function copyLinkedFiles(outDir: string): void {
  for (const file of linkedFiles) {
    const copy = join(outDir, 'files', file)
    mkdirSync(dirname(copy), { recursive: true })
    copyFileSync(join(ROOT, file), copy)
  }
}

/** The fragment that leads to a heading on GitHub, so that a link works there and here. */
export function slugify(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
}
