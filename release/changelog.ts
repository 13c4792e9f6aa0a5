/** Reads CHANGELOG.md, which has the form of https://keepachangelog.com/en/1.1.0/. */

export interface ChangelogVersion {
  /** `0.2.0`, or `Unreleased`. */
  readonly name: string
  /** ISO 8601; undefined for what is not released. */
  readonly date: string | undefined
  /** Markdown, without the heading of the version. */
  readonly text: string
}

const HEADING = /^## (Unreleased|\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)(?: - (\d{4}-\d\d-\d\d))?$/

/** @returns the versions, in the order of the file. @throws Error if a heading has another form */
export function versionsOf(changelog: string): ChangelogVersion[] {
  return changelog
    .split(/^(?=## )/m)
    .filter(section => section.startsWith('## '))
    .map(section => {
      const end = section.indexOf('\n')
      const heading = section.slice(0, end)
      const [, name, date] = HEADING.exec(heading) ?? []
      if (name === undefined || (name === 'Unreleased') !== (date === undefined))
        throw new Error(
          `CHANGELOG.md: the heading "${heading}" must be "## Unreleased" or like "## 0.2.0 - 2026-11-28".`,
        )
      return { name, date, text: section.slice(end).trim() }
    })
}

export interface NotesOptions {
  readonly changelog: string
  /** As pushed: `v0.2.0`. */
  readonly tag: string
  /** As in package.json. */
  readonly version: string
  /** Relative links are made absolute below this: `https://github.com/me/frequency/blob/v0.2.0`. @default links stay */
  readonly baseUrl?: string | undefined
}

/**
 * @returns the notes of a release, in Markdown
 * @throws Error if the tag is not the version, the version has no entries, or entries are still under Unreleased
 */
export function notesOf({ changelog, tag, version, baseUrl }: NotesOptions): string {
  if (tag !== `v${version}`)
    throw new Error(`The tag ${tag} is not the version of package.json. Tag v${version}, or set "version".`)
  const versions = versionsOf(changelog)
  const unreleased = versions.find(({ name }) => name === 'Unreleased')
  if (unreleased !== undefined && unreleased.text !== '')
    throw new Error(`CHANGELOG.md: move the entries under Unreleased to ${version}.`)
  const found = versions.find(({ name }) => name === version)
  if (found === undefined || found.text === '')
    throw new Error(`CHANGELOG.md has no entries for ${version}. Write them under "## ${version} - DATE".`)
  return `${baseUrl === undefined ? found.text : withAbsoluteLinks(found.text, baseUrl)}\n`
}

function withAbsoluteLinks(text: string, baseUrl: string): string {
  return text.replace(/\]\((?![a-z]+:|#)([^)\s]+)\)/g, `](${baseUrl}/$1)`)
}
