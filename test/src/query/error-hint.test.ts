import t from 'tap'
import { hintOf } from '../../../src/query/error-hint.ts'

const MS_MAX = 100

t.test('the text of an event, however long, does not hold up the hint', async t => {
  const text = 'Could not convert string '.repeat(64_000)
  const column = `Conversion Error: Could not convert string '${text}' to INT32 when casting from source column user_id`
  const value = `Conversion Error: Could not convert string '${text}' to INT32`
  const startedAt = performance.now()
  t.match(hintOf(column), /^user_id is a text: /)
  t.match(hintOf(value), /^A text is compared with something else: /)
  t.equal(hintOf(`Binder Error: ${'Cannot compare values of type a '.repeat(50_000)}`), undefined)
  t.ok(performance.now() - startedAt < MS_MAX)
})
