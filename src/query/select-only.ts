/**
 * Lets one SELECT through, and nothing that reads files, writes or changes the engine.
 *
 * The text is parsed by DuckDB itself (`json_serialize_sql`), and not bound: binding alone runs table functions such as
 * `enable_logging`. Statements other than SELECT are not serialized at all.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { JSON_HINT } from './error-hint.ts'

/** Table functions that make rows of their arguments alone. */
const TABLE_FUNCTIONS = new Set([
  'range',
  'generate_series',
  'unnest',
  'json_each',
  'json_tree',
  'repeat',
  'repeat_row',
])
/** Scalar functions that do more than return a value. */
const SIDE_EFFECTS = new Set(['write_log', 'nextval'])
const ARROWS = new Set(['->', '->>'])
/** What is true or false, by the parser's names. */
const TRUTH_CLASSES = new Set(['CONJUNCTION', 'COMPARISON', 'BETWEEN'])
const TRUTH_TYPES = new Set([
  'OPERATOR_NOT',
  'OPERATOR_IS_NULL',
  'OPERATOR_IS_NOT_NULL',
  'COMPARE_IN',
  'COMPARE_NOT_IN',
])
const TRUTH_FUNCTIONS = new Set(['~~', '!~~', '~~*', '!~~*', '~~~', '^@', 'regexp_full_match'])

interface Serialized {
  readonly error: boolean
  readonly error_type?: string
  readonly error_message?: string
  readonly statements?: readonly unknown[]
}

/** @throws Error that says what is not allowed, or the parser's own words */
export async function assertSelect(connection: DuckDBConnection, sql: string): Promise<void> {
  const reader = await connection.runAndReadAll('select json_serialize_sql($1::varchar)', [sql])
  const serialized = JSON.parse(String(reader.getRows()[0]?.[0])) as Serialized
  if (serialized.error) {
    if (serialized.error_type === 'parser') throw new Error(`Parser Error: ${serialized.error_message}`)
    throw new Error('Only SELECT is allowed here: the archive cannot be changed by a query.')
  }
  if (serialized.statements?.length !== 1)
    throw new Error('One statement at a time: there are several, or none.')
  for (const node of objectsOf(serialized.statements)) assertAllowed(node)
}

type Node = Readonly<Record<string, unknown>>

function assertAllowed(node: Node): void {
  const name = String(node.function_name ?? '').toLowerCase()
  if (node.type === 'TABLE_FUNCTION') {
    const called = String((node.function as Node | undefined)?.function_name ?? '').toLowerCase()
    if (!TABLE_FUNCTIONS.has(called))
      throw new Error(`The table function ${called} is not allowed here: query the view events.`)
  }
  if (SIDE_EFFECTS.has(name)) throw new Error(`The function ${name} is not allowed here.`)
  if (hasLooseArrow(node, name)) throw new Error(`Without parentheses -> and ->> bind last. ${JSON_HINT}`)
}

/**
 * Whether an arrow takes a truth value for JSON: `event = 'a' and context->>'ip' is null` is `(event = 'a' and
 * context)->>'ip' is null`. DuckDB evaluates it without an error where `context` is NULL, and an erasure would take
 * other events. Behind `->`, which is parsed like a lambda, `is null` and `=` belong to the right side.
 */
function hasLooseArrow(node: Node, name: string): boolean {
  if (ARROWS.has(name) && isTruth((node.children as Node[] | undefined)?.[0])) return true
  if (node.class === 'LAMBDA' && isTruth(node.lhs)) return true
  const { children, ...others } = node
  const hasLambdas = node.class === 'FUNCTION' && node.is_operator !== true
  return [others, hasLambdas ? [] : children]
    .flatMap(each => Object.values(each ?? {}).flat())
    .some(value => (value as Node | null)?.class === 'LAMBDA' && isTruth((value as Node).expr))
}

function isTruth(value: unknown): boolean {
  const node = (value ?? {}) as Node
  return (
    TRUTH_CLASSES.has(String(node.class)) ||
    TRUTH_TYPES.has(String(node.type)) ||
    TRUTH_FUNCTIONS.has(String(node.function_name))
  )
}

/** All objects in a tree. Not recursive: a text of the user's decides how deep it is. */
function* objectsOf(root: unknown): Generator<Node> {
  const left: unknown[] = [root]
  while (left.length > 0) {
    const value = left.pop()
    if (typeof value !== 'object' || value === null) continue
    if (!Array.isArray(value)) yield value as Node
    for (const each of Object.values(value)) left.push(each)
  }
}
