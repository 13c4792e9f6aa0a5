/** `.env.example` and the tables of `docs/settings.md`, as the code has them. */
import { awsSettings } from '../src/config/aws-settings.ts'
import { type Setting, settings } from '../src/config/config.ts'

const COLUMNS_MAX = 100
const HEAD = `# Copy this file to .env, and remove the # before each setting that you change. The values are the defaults.
# Variables of the environment win over .env, and flags (--batch-events-max) win over both.
# Times take a unit (500ms, 10s, 5m, 24h), and so do sizes (64KiB, 16MiB, 1GB).`
const MARK = 'settings: written by `npm run settings`'

export function envExample(): string {
  return envFile(HEAD)
}

/** @param defaults other defaults than those of the program; a setting that is undefined is left out */
export function envFile(head: string, defaults: Readonly<Record<string, string | undefined>> = {}): string {
  const own = settings
    .filter(({ variable }) => !(variable in defaults) || defaults[variable] !== undefined)
    .map(setting =>
      hasValue(setting)
        ? block(setting.variable, setting.description, defaults[setting.variable] ?? setting.default)
        : block(setting.variable, `${setting.description} Default: ${inWords(setting)}.`),
    )
  const ofAws = awsSettings.map(({ variable, description }) => block(variable, description))
  return `${[head, ...own, ...ofAws].join('\n\n')}\n`
}

/** @returns the text with the tables between its marks replaced. @throws Error if it does not have these marks once each. */
export function withTables(document: string): string {
  const [start, end] = [`<!-- ${MARK} -->`, '<!-- end of settings -->']
  const [before, rest, ...more] = document.split(start)
  const [, after, ...others] = rest?.split(end) ?? []
  if (before === undefined || after === undefined || more.length + others.length > 0)
    throw new Error(`The document needs one ${start}, and one ${end} after it.`)
  return `${before}${start}\n${tables()}\n${end}${after}`
}

function tables(): string {
  const own = settings.map(setting => {
    const value = hasValue(setting) ? `\`${setting.default}\`` : inWords(setting)
    return `| \`${setting.variable}\` | ${value} | ${setting.description} |`
  })
  const ofAws = awsSettings.map(({ variable, description }) => `| \`${variable}\` | ${description} |`)
  return [
    '| setting | default | what it is |',
    '|---|---|---|',
    ...own,
    '',
    'The AWS SDK reads these variables, and more. They have no flags:',
    '',
    '| variable | what it is |',
    '|---|---|',
    ...ofAws,
  ].join('\n')
}

/** A default in words cannot be written as a value. */
function hasValue({ schema }: Setting): boolean {
  return schema.default !== undefined
}

function inWords(setting: Setting): string {
  return setting.default.slice(1, -1)
}

function block(variable: string, description: string, value = ''): string {
  return `${wrapped(description)}\n#${variable}=${value}`
}

function wrapped(text: string): string {
  const lines = ['#']
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`
    if (longer.length <= COLUMNS_MAX) lines[lines.length - 1] = longer
    else lines.push(`# ${word}`)
  }
  return lines.join('\n')
}
