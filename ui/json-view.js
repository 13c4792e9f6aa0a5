/**
 * Formats JSON for reading without parsing it: numbers keep their digits, and members their order.
 */

import { printable } from './wording.js'

const TOKENS = /"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g
const INDENT = '  '

/**
 * Shows JSON in an element with one member on each line. Names, strings and other values have different classes.
 *
 * @param {HTMLElement} target
 * @param {string} json valid JSON
 */
export function showJson(target, json) {
  const tokens = json.match(TOKENS) ?? []
  const parts = new DocumentFragment()
  let depth = 0
  tokens.forEach((token, at) => {
    const next = tokens[at + 1]
    if (token === '{' || token === '[') {
      const isEmpty = next === '}' || next === ']'
      if (!isEmpty) depth++
      parts.append(isEmpty ? token : `${token}\n${INDENT.repeat(depth)}`)
    } else if (token === '}' || token === ']') {
      const before = tokens[at - 1]
      if (before === '{' || before === '[') parts.append(token)
      else parts.append(`\n${INDENT.repeat(--depth)}${token}`)
    } else if (token === ',') parts.append(`,\n${INDENT.repeat(depth)}`)
    else if (token === ':') parts.append(': ')
    else parts.append(marked(token, next === ':'))
  })
  target.replaceChildren(parts)
}

/**
 * Shows several JSON texts in an element, each on one line, with the same classes.
 *
 * @param {HTMLElement} target
 * @param {readonly string[]} lines
 */
export function showJsonLines(target, lines) {
  const rows = lines.map(line => {
    const row = document.createElement('span')
    const tokens = line.match(TOKENS) ?? []
    tokens.forEach((token, at) => {
      if (!/^[{}[\],:]$/.test(token)) row.append(marked(token, tokens[at + 1] === ':'))
      else row.append(token === ',' || token === ':' ? `${token} ` : token)
    })
    return row
  })
  target.replaceChildren(...rows)
}

/** @param {string} token @param {boolean} isName */
function marked(token, isName) {
  const element = document.createElement('span')
  element.className = isName ? 'name' : token.startsWith('"') ? 'text' : 'value'
  element.textContent = printable(token)
  return element
}
