import { test } from 'tap'
import { parseWriteKeys } from '../../../src/config/write-key-list.ts'
import { edited as editedObject } from '../../../src/event/json-members.ts'
import type { Source } from '../../../src/event/source.ts'
import { canonicalAddress, contextIp } from '../../../src/http/client-ip.ts'

const [BROWSER, SERVER] = [...parseWriteKeys('web:browser=1,api=2', 'X').values()] as [Source, Source]
const ADDRESS = '203.0.113.77'

interface Options {
  policy: 'keep' | 'truncate' | 'drop'
  source: Source
  address: string
}

function edited(json: string, { policy = 'keep', source, address }: Partial<Options>): string {
  const bytes = Buffer.from(json)
  const nested = contextIp(JSON.parse(json), policy, source, address)
  const result = nested === undefined ? bytes : editedObject(bytes, { nested })
  JSON.parse(result.toString())
  return result.toString()
}

test('an event without an address gets one, and nothing else of it changes', async t => {
  const cases: [json: string, result: string][] = [
    ['{"n":1.10}', '{"n":1.10,"context":{"ip":"203.0.113.77"}}'],
    ['{}', '{"context":{"ip":"203.0.113.77"}}'],
    ['{"context":{},"n":1e3}', '{"context":{"ip":"203.0.113.77"},"n":1e3}'],
    [
      ' { "a" : 1 , "context" : { "os" : {"ip":"x"} } , "n":12345678901234567890} ',
      '{ "a" : 1 , "context" : { "os" : {"ip":"x"},"ip":"203.0.113.77"}, "n":12345678901234567890}',
    ],
    [
      '{"properties":{"context":{"a":1}}}',
      '{"properties":{"context":{"a":1}},"context":{"ip":"203.0.113.77"}}',
    ],
    ['{"con\\u0074ext":{"a":1}}', '{"con\\u0074ext":{"a":1,"ip":"203.0.113.77"}}'],
    ['{"context":null}', '{"context":{"ip":"203.0.113.77"}}'],
    ['{"context":[]}', '{"context":{"ip":"203.0.113.77"}}'],
    ['{"context":"web"}', '{"context":"web"}'],
    ['{"context":{"ip":"198.51.100.1"}}', '{"context":{"ip":"198.51.100.1"}}'],
    ['{"context":{"ip":null}}', '{"context":{"ip":null}}'],
  ]
  for (const [json, result] of cases) t.equal(edited(json, { address: ADDRESS }), result)
})

test("a client with a browser's key cannot set another address, but can hide its own", async t => {
  const asBrowser = { source: BROWSER, address: ADDRESS }
  const seen = '{"context":{"a":1,"ip":"203.0.113.77"}}'
  t.equal(edited('{"context":{"ip":"198.51.100.1","a":1}}', asBrowser), seen)
  t.equal(edited('{"context":{"\\u0069p":"198.51.100.1","a":1,"ip":7}}', asBrowser), seen)
  t.equal(edited('{"context":{"ip":"198.51.100.1","a":1}}', { source: BROWSER }), '{"context":{"a":1}}')
  t.equal(edited('{"context":{"ip":"0.0.0.0"}}', asBrowser), '{"context":{"ip":"0.0.0.0"}}')
  t.equal(edited('{"a":1}', { source: BROWSER }), '{"a":1}')
})

test("the address of a client with a server's key is not added", async t => {
  const asServer = { source: SERVER, address: ADDRESS }
  t.equal(edited('{"a":1}', asServer), '{"a":1}')
  t.equal(edited('{"context":{"ip":"198.51.100.1"}}', asServer), '{"context":{"ip":"198.51.100.1"}}')
})

test('the policy holds for the address in the event and for the address of the client', async t => {
  const cases: [json: string, options: Partial<Options>, result: string][] = [
    ['{"a":1}', { policy: 'truncate', address: ADDRESS }, '{"a":1,"context":{"ip":"203.0.113.0"}}'],
    ['{"a":1}', { policy: 'drop', address: ADDRESS }, '{"a":1}'],
    ['{"context":{"ip":"198.51.100.1"}}', { policy: 'truncate' }, '{"context":{"ip":"198.51.100.0"}}'],
    [
      '{"context":{"ip":"198.51.100.1"}}',
      { policy: 'truncate', source: SERVER },
      '{"context":{"ip":"198.51.100.0"}}',
    ],
    ['{"context":{"ip":"198.51.100.1","a":1}}', { policy: 'drop' }, '{"context":{"a":1}}'],
    ['{"context":{"ip":"198.51.100.1 or so","a":1}}', { policy: 'truncate' }, '{"context":{"a":1}}'],
    ['{"context":{"ip":{"v4":"198.51.100.1"}}}', { policy: 'truncate' }, '{"context":{}}'],
    ['{"context":{"ip":["198.51.100.1"]}}', { policy: 'drop' }, '{"context":{}}'],
    ['{"context":{"ip":"0.0.0.0"}}', { policy: 'truncate' }, '{"context":{"ip":"0.0.0.0"}}'],
    [
      '{"context":{"ip":"198.51.100.1"},"a":1,"context":{}}',
      { policy: 'drop' },
      '{"context":{},"a":1,"context":{}}',
    ],
    [
      '{"context":{"ip":"198.51.100.1"},"a":1,"context":{}}',
      { policy: 'truncate' },
      '{"context":{},"a":1,"context":{}}',
    ],
    ['{"context":{"ip":"198.51.100.1"},"context":7}', { policy: 'drop' }, '{"context":{},"context":7}'],
  ]
  for (const [json, options, result] of cases)
    t.equal(edited(json, options), result, `${json} ${options.policy}`)
})

test('an event that needs no change keeps the same bytes', async t => {
  const json = Buffer.from('{"context":{"ip":"198.51.100.1"}}')
  const fields = JSON.parse(json.toString())
  t.equal(contextIp(fields, 'keep', undefined), undefined)
  t.equal(contextIp(fields, 'keep', SERVER), undefined)
})

test('an address is written in its canonical form', async t => {
  const cases: [text: string, address: string | undefined][] = [
    ['203.0.113.77', '203.0.113.77'],
    ['203.0.113.77:49152', '203.0.113.77'],
    ['::ffff:203.0.113.77', '203.0.113.77'],
    ['::FFFF:cb00:714d', '203.0.113.77'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['::1', '::1'],
    ['unknown', undefined],
    ['', undefined],
    ['203.0.113.777', undefined],
  ]
  for (const [text, address] of cases) t.equal(canonicalAddress(text), address, text)
})

test('truncate keeps the network of an address', async t => {
  const cases: [address: string, network: string][] = [
    ['203.0.113.77', '203.0.113.0'],
    ['::ffff:203.0.113.77', '203.0.113.0'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1::'],
    ['2001:db8::6', '2001:db8::'],
    ['2001::5:6', '2001::'],
    ['fe80::1%eth0', 'fe80::'],
    ['::1', '::'],
  ]
  for (const [address, network] of cases) {
    const json = edited('{}', { policy: 'truncate', address })
    t.equal(JSON.parse(json).context.ip, network, address)
  }
})
