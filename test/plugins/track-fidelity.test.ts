import t, { type Test } from 'tap'
import { serveApp } from './served-app.ts'

const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'

/** Posts the bodies one after the other. Resolves to the archived line of each. */
async function archived(t: Test, bodies: string[], type = JSON_TYPE): Promise<string[]> {
  const served = await serveApp(t)
  for (const [index, body] of bodies.entries()) {
    const response = await fetch(`${served.url}/api/t`, {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    })
    t.equal(await response.text(), '200', `body ${index}`)
  }
  const lines = await served.archivedLines()
  t.equal(lines.length, bodies.length)
  return lines
}

t.test('archives a compact event unchanged, character for character', async t => {
  const bodies = [
    '{"event":"numbers","id":9007199254740993,"big":123456789012345678901234567890,"price":1.10}',
    '{"event":"numbers","values":[1e400,1E-7,-0,-0.0,0.1e+2,100,1.0000000000000000001,2.50]}',
    '{"event":"unicode","text":"Zürich – 東京 👩‍👩‍👧 \u2028\u2029\u0000\\u0000","\u00e9":"e\u0301"}'.replace(
      '\u0000',
      '',
    ),
    '{"event":"escapes","text":"\\u00fc\\ud83d\\ude00\\/\\b\\n\\r\\t\\"\\\\","\\u006bey":"\\ud800"}',
    '{"event":"strings","text":"} ] { [ , : \\" }}}","receivedat":"lower case is another field"}',
    '{"event":"empty","o":{},"a":[],"s":"","n":null}',
    '{"z":1,"10":2,"2":3,"event":"key order","a":{"9":1,"b":2,"1":3}}',
    '{"event":"own id","messageId":"our-own-id-1","properties":{"receivedAt":"theirs","messageId":"theirs"}}',
    '{"event":"named like what objects have","constructor":"c","toString":1,"hasOwnProperty":null,"prototype":{}}',
  ]
  const lines = await archived(t, bodies)
  for (const [index, body] of bodies.entries()) {
    const line = lines[index] ?? ''
    const unclosed = body.slice(0, -1)
    t.equal(line.slice(0, unclosed.length), unclosed, `body ${index}`)
    t.match(line.slice(unclosed.length), /^(,"(messageId|receivedAt)":"[^"]+"){1,2}\}$/)
  }
})

t.test('archives events that are nested as deep as a body can be', async t => {
  const tenThousand = `{"event":"deep","properties":${'{"a":['.repeat(5_000)}1${']}'.repeat(5_000)}}`
  const arrays = `{"event":"deeper","a":${'['.repeat(500_000)}${']'.repeat(500_000)}}`
  const lines = await archived(t, [tenThousand, arrays])
  t.ok(lines[0]?.startsWith(tenThousand.slice(0, -1)))
  t.ok(lines[1]?.startsWith(arrays.slice(0, -1)))
})

t.test('archives JSON over several lines on one line, with the same meaning', async t => {
  const event = { event: 'pretty', text: 'line\nbreak', list: [1, { a: [] }], empty: {}, '': '' }
  const bodies = [
    JSON.stringify(event, null, 2),
    JSON.stringify(event, null, '\t').replaceAll('\n', '\r\n'),
    `\n\n  ${JSON.stringify(event, null, 8)}  \r\n\t`,
  ]
  for (const line of await archived(t, bodies)) {
    const { messageId, receivedAt, ...asSent } = JSON.parse(line)
    t.strictSame(asSent, event)
    t.strictSame(Object.keys(asSent), Object.keys(event), 'members in the same order')
    t.match({ messageId, receivedAt }, { messageId: String, receivedAt: String })
  }
})

t.test('removes a byte order mark', async t => {
  const [line] = await archived(t, ['\ufeff{"event":"marked"}'])
  t.match(line, /^\{"event":"marked",/)
})

t.test('a client cannot set receivedAt', async t => {
  const forged = '2001-01-01T00:00:00.000Z'
  const bodies = [
    `{"event":"first","receivedAt":"${forged}"}`,
    `{"receivedAt":"${forged}","event":"second"}`,
    `{"event":"twice","receivedAt":"${forged}","a":1,"receivedAt":"${forged}"}`,
    `{"event":"escaped","r\\u0065ceived\\u0041t":"${forged}","receivedAt":"${forged}"}`,
    `{ "event" : "spaced" , "receivedAt" : { "at" : [ "${forged}" , "}" ] } }`,
    '{"event":"null","receivedAt":null}',
  ]
  const now = Date.now()
  const lines = [
    ...(await archived(t, bodies)),
    ...(await archived(
      t,
      [`event=form&receivedAt=${forged}`, `receivedAt[a]=${forged}&event=form`],
      FORM_TYPE,
    )),
  ]
  for (const line of lines) {
    const names = [...line.matchAll(/"receivedAt"/g)]
    t.equal(names.length, 1)
    t.notMatch(line, forged)
    t.ok(
      Math.abs(Date.parse(JSON.parse(line).receivedAt) - now) < 60_000,
      'receivedAt is the time of the request',
    )
  }
})

t.test('keeps the messageId of a client, and gives each other event a new one', async t => {
  const bodies = [
    '{"event":"own","messageId":"client-id-1"}',
    '{"messageId":"client-id-\\u0032","event":"escaped"}',
    '{"event":"none"}',
    '{"event":"none"}',
  ]
  const ids = (await archived(t, bodies)).map(line => JSON.parse(line).messageId)
  t.strictSame(ids.slice(0, 2), ['client-id-1', 'client-id-2'])
  t.match(ids[2], /^[0-9a-f-]{36}$/)
  t.equal(new Set(ids).size, 4)
  t.ok(String(ids[2]) < String(ids[3]), 'in order of arrival')
})
