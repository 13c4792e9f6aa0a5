/** Checks that the files, functions, links and headings in the documents exist. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const FOLDERS = ['.', 'docs', 'docs/decisions', 'bench']
/** Documents for developers, with names of files, functions and tests. */
const GUIDES = ['docs/architecture.md', 'CONTRIBUTING.md']
const FILE = /^[\w.@-]+(?:\/[\w.@-]+)*\.(?:ts|js|md|json|yml|html|css)$/
/** `name()`, `Class.method()` or `Class.#method()`. */
const FUNCTION = /^(?:([A-Z]\w*)\.)?(#?\w+)\(\)$/
/** In Markdown, and of images in HTML. */
const LINK = /(?:\]\(|\ssrc(?:set)?=")([^)"\s]+)[)"]/g

const documents = FOLDERS.flatMap(folder =>
  readdirSync(join(ROOT, folder))
    .filter(name => name.endsWith('.md'))
    .map(name => normalize(join(folder, name))),
)

function textOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

/** The lines of a document that are not in blocks of code. */
function proseLines(text: string): string[] {
  return text.replace(/^```.*?^```/gms, '').split('\n')
}

function codeSpansOf(line: string): string[] {
  return Array.from(line.matchAll(/`([^`]+)`/g), ([, span = '']) => span)
}

/** A row of a table that begins with a folder names files of that folder. */
function pathOf(name: string, line: string): string {
  const [, folder = ''] = /^\| `([^`]+\/)` \|/.exec(line) ?? []
  return existsSync(join(ROOT, name)) ? name : folder + name
}

/** Whether the file declares the function, or the method in the class. */
function declares(file: string, owner: string | undefined, name: string): boolean {
  const text = textOf(file)
  const isOwned =
    owner === undefined || new RegExp(`^(?:export )?(?:class|interface) ${owner}\\b`, 'm').test(text)
  const declaration = `^(?:\\s*(?:export )?(?:async )?function\\*? |\\s+(?:(?:async|static|get) |\\*)*)${name}[(<]`
  return isOwned && new RegExp(declaration, 'm').test(text)
}

/** The headings of a document as the fragments that lead to them: https://github.com/gjtorikian/html-pipeline */
function anchorsOf(file: string): Set<string> {
  const headings = proseLines(textOf(file)).filter(line => /^#+ /.test(line))
  const slug = (heading: string): string =>
    heading
      .replace(/^#+ /, '')
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-')
  return new Set(headings.map(slug))
}

for (const guide of GUIDES) {
  t.test(`${guide}: each file exists, and declares the functions that are named beside it`, async t => {
    let functions = 0
    for (const line of proseLines(textOf(guide))) {
      let file: string | undefined
      for (const span of codeSpansOf(line)) {
        if (FILE.test(span)) {
          file = pathOf(span, line)
          t.ok(existsSync(join(ROOT, file)), `${file} is there`)
        }
        if (span.endsWith('/') && /^[\w/.-]+$/.test(span))
          t.ok(existsSync(join(ROOT, pathOf(span, line))), span)
        const [, owner, name] = FUNCTION.exec(span) ?? []
        if (name === undefined) continue
        functions++
        t.ok(file !== undefined && declares(file, owner, name), `${file} declares ${span}`)
      }
    }
    t.ok(functions > 0)
  })
}

t.test('each link leads to a file, and to a heading of it', async t => {
  let links = 0
  for (const document of documents) {
    for (const [, target = ''] of proseLines(textOf(document)).join('\n').matchAll(LINK)) {
      if (/^[a-z]+:/.test(target)) continue
      links++
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? document : normalize(join(dirname(document), path))
      const isThere = existsSync(join(ROOT, file))
      t.ok(isThere, `${document}: ${target}`)
      if (isThere && anchor !== undefined) t.ok(anchorsOf(file).has(anchor), `${document}: ${target}`)
    }
  }
  t.ok(links > 20)
})

t.test('docs/decisions/README.md lists each record, with its title', async t => {
  const index = textOf('docs/decisions/README.md')
  const records = documents.filter(file => /^docs\/decisions\/\d{4}-/.test(file))
  t.ok(records.length > 3)
  for (const record of records) {
    const [, title = ''] = /^# \d{4}: (.+)$/m.exec(textOf(record)) ?? []
    t.ok(index.includes(`[${title}](${record.slice('docs/decisions/'.length)})`), `${record}: ${title}`)
  }
})
