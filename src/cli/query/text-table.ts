/** A table of text for a terminal: columns are as wide as their contents, and narrower where the terminal is. */

import type { Answer, Column } from '../../query/engine-messages.ts'
import { escapeControls } from '../escape-controls.ts'

const CELL_CHARACTERS_MIN = 8
const BETWEEN = '  '
const NULL = ''
/** Characters that take two columns: East Asian wide and full-width ones, and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
const JOINING = /\p{Mn}|\p{Me}|\p{Cf}/u

/**
 * @param width of the terminal, in characters; undefined if nothing has to be cut
 * @returns the lines, with a line feed behind each
 */
export function textTable({ columns, rows }: Answer, width: number | undefined): string {
  const cells = rows.map(row => row.map(value => (value === null ? NULL : escapeControls(value))))
  const heads = columns.map(({ name }) => escapeControls(name))
  const wanted = heads.map((head, index) =>
    Math.max(widthOf(head), ...cells.map(row => widthOf(row[index] as string))),
  )
  const widths = width === undefined ? wanted : fitted(wanted, width - BETWEEN.length * (columns.length - 1))
  const lines = [heads, widths.map(each => '-'.repeat(each)), ...cells]
  return lines.map(line => `${lineOf(line, columns, widths)}\n`).join('')
}

function lineOf(cells: readonly string[], columns: readonly Column[], widths: readonly number[]): string {
  const padded = cells.map((cell, index) => {
    const width = widths[index] as number
    const shown = cut(cell, width)
    const space = ' '.repeat(width - widthOf(shown))
    return columns[index]?.isNumber ? space + shown : shown + space
  })
  // Not trimEnd(): a value may end with a space of Unicode, or with a byte order mark.
  return padded.join(BETWEEN).replace(/ +$/, '')
}

/** Takes from the widest columns until all fit. */
function fitted(wanted: readonly number[], width: number): number[] {
  const widths = [...wanted]
  let total = widths.reduce((sum, each) => sum + each, 0)
  while (total > width) {
    const widest = Math.max(...widths)
    if (widest <= CELL_CHARACTERS_MIN) break
    const second = Math.max(CELL_CHARACTERS_MIN, ...widths.filter(each => each < widest))
    const count = widths.filter(each => each === widest).length
    const cutTo = Math.max(second, widest - Math.ceil((total - width) / count))
    for (const [index, each] of widths.entries()) if (each === widest) widths[index] = cutTo
    total = widths.reduce((sum, each) => sum + each, 0)
  }
  return widths
}

/** The beginning of a text, with an ellipsis if it is wider. */
function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  let shown = ''
  let used = 0
  for (const character of text) {
    used += widthOf(character)
    if (used > width - 1) break
    shown += character
  }
  return `${shown}…`
}

function widthOf(text: string): number {
  let width = 0
  for (const character of text) width += JOINING.test(character) ? 0 : WIDE.test(character) ? 2 : 1
  return width
}
