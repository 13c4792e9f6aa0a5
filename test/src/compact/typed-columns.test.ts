import t from 'tap'
import { parseTableColumns } from '../../../src/compact/typed-columns.ts'

t.test('a typed column is not named as another column or a partition', async t => {
  for (const member of ['event', 'user.id', 'dt', 'hour', 'Hour', 'received_at.hour', 'a.b,a_b'])
    t.throws(() => parseTableColumns(member), /two columns/, member)
  t.match(parseTableColumns('properties.hour:long'), [{ name: 'properties_hour', type: 'long' }])
})
