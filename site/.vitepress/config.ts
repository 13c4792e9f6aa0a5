import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vitepress'
import { copyLinkedFiles, ROOT, repositoryLinks, slugify } from '../links.ts'
import { pageOf, SIDEBAR } from '../pages.ts'

const SITE = fileURLToPath(new URL('..', import.meta.url))
/** Path of the site: `/frequency/` if it is at https://example.github.io/frequency/. */
const base = `/${process.env.BASE ?? ''}/`.replace(/\/+/g, '/')
const repositoryUrl = process.env.REPOSITORY_URL || undefined
const icon = `data:image/svg+xml,${encodeURIComponent(readFileSync(join(ROOT, 'ui/icon.svg'), 'utf8'))}`

export default defineConfig({
  title: 'frequency',
  description: 'Takes analytics events over HTTP, and archives each once, in a directory or in S3.',
  lang: 'en',
  base,
  srcDir: '..',
  srcExclude: [
    '{bin,binary,demo,dist,node_modules,ops,plugins,src,test,ui,data}/**',
    '**/node_modules/**',
    '.*/**',
  ],
  outDir: process.env.OUT_DIR ?? 'dist',
  // A document that is no page keeps its path, and is left out by `srcExclude`.
  rewrites: source => pageOf(source) ?? source,
  head: [['link', { rel: 'icon', type: 'image/svg+xml', href: icon }]],
  markdown: {
    anchor: { slugify },
    languageAlias: { haproxy: 'nginx', caddyfile: 'nginx' },
    config: md => repositoryLinks(md, { base, repositoryUrl }),
  },
  vite: { plugins: [packagesOfSite()] },
  transformPageData(page) {
    if (page.relativePath === 'first-steps.md') page.title = 'First steps'
  },
  buildEnd: ({ outDir }) => copyLinkedFiles(outDir),
  themeConfig: {
    logo: { src: icon, alt: '' },
    nav: [
      { text: 'First steps', link: '/first-steps' },
      { text: 'Settings', link: '/settings' },
      { text: 'Operations', link: '/operations' },
      { text: 'Comparison', link: '/comparison' },
    ],
    sidebar: [...SIDEBAR, decisions()],
    outline: { level: [2, 3], label: 'On this page' },
    search: { provider: 'local', options: { detailedView: true } },
    externalLinkIcon: true,
    ...(repositoryUrl && {
      socialLinks: [{ icon: 'github', link: repositoryUrl, ariaLabel: 'Repository' }],
      editLink: {
        // A text: VitePress would run a function in the browser, without this file.
        pattern: `${repositoryUrl}/edit/HEAD/:path`,
        text: 'Change this page',
      },
    }),
  },
})

/** The documents are above the packages of the site, so their imports are resolved from here. */
function packagesOfSite(): Plugin {
  return {
    name: 'packages-of-site',
    enforce: 'pre',
    resolveId(id, importer) {
      if (!/^vue(?:\/|$)/.test(id) || importer === undefined || importer.startsWith(SITE)) return null
      return this.resolve(id, join(SITE, 'index.md'), { skipSelf: true })
    },
  }
}

/** The records that docs/decisions/README.md lists, with their titles. */
function decisions() {
  const index = readFileSync(join(ROOT, 'docs/decisions/README.md'), 'utf8')
  const rows = index.matchAll(/^\| (\d{4}) \| \[([^\]]+)\]\((\d{4}-[\w-]+)\.md\)/gm)
  return {
    text: 'Decisions',
    link: '/decisions/',
    collapsed: true,
    items: Array.from(rows, ([, number, title, name]) => ({
      text: `${number}: ${title}`,
      link: `/decisions/${name}`,
    })),
  }
}
