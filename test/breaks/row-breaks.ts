import type { Break } from './break.ts'

const ROWS = 'test/src/query/event-rows.test.ts'

const SHAPES = 'src/query/event-shapes.ts'
const SAME_ROW = 'An event of a known shape has the row that it has alone.'

export const ROW_BREAKS: readonly Break[] = [
  {
    name: 'times of a known shape are not looked at',
    promise: SAME_ROW,
    file: 'src/query/event-rows.ts',
    text: 'shape !== undefined && this.#hasPlainTimes(bytes)',
    replacement: 'shape !== undefined',
    checks: [ROWS],
  },
  {
    name: 'a lone surrogate of a known shape is taken for a character',
    promise: SAME_ROW,
    file: 'src/query/line-bytes.ts',
    text: '    at = escapeEnd(bytes, at)\n    if (at === -1) return -1',
    replacement: '    at += 2',
    checks: [ROWS],
  },
  {
    name: 'a column that is null has the shape of one with a text',
    promise: SAME_ROW,
    file: SHAPES,
    text: 'if (!(byte === LETTER_N && isOfText))',
    replacement: '',
    checks: [ROWS],
  },
  {
    name: 'an object has the shape of a number',
    promise: SAME_ROW,
    file: SHAPES,
    text: 'return isScalarStart(byte) && (',
    replacement: 'return (',
    checks: [ROWS],
  },
  {
    name: 'null has the shape of a number in a text column',
    promise: SAME_ROW,
    file: SHAPES,
    text: '(next === SCALAR || byte !== LETTER_N)',
    replacement: 'true',
    checks: [ROWS],
  },
  {
    name: 'an empty text ends where the text of its shape ended',
    promise: SAME_ROW,
    file: SHAPES,
    text: 'literals.findLastIndex(has)',
    replacement: 'literals.findIndex(has)',
    checks: [ROWS],
  },
]
