import t from 'tap'
import { callTime, timeOf } from '../../src/segment/time.ts'

const RECEIVED = new Date('2026-11-24T13:00:00.000Z')

t.test('reads ISO 8601, in UTC where it names no offset', async t => {
  const moments: [text: string, iso: string][] = [
    ['2026-11-24', '2026-11-24T00:00:00.000Z'],
    ['2026-11-24T13:05', '2026-11-24T13:05:00.000Z'],
    ['2026-11-24T13:05:07', '2026-11-24T13:05:07.000Z'],
    ['2026-11-24 13:05:07,5', '2026-11-24T13:05:07.500Z'],
    ['2026-11-24t13:05:07.123456789z', '2026-11-24T13:05:07.123Z'],
    ['2026-11-24T13:05:07+01', '2026-11-24T12:05:07.000Z'],
    ['2026-11-24T13:05:07-0330', '2026-11-24T16:35:07.000Z'],
    ['2026-11-24T13:05:07+05:45', '2026-11-24T07:20:07.000Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
    ['+012026-01-01T00:00:00Z', '+012026-01-01T00:00:00.000Z'],
  ]
  for (const [text, iso] of moments) t.equal(timeOf(text), Date.parse(iso), text)

  const others = [
    '',
    'yesterday',
    '2026-02-30',
    '2026-13-01',
    '2026-11-24T24:00',
    '2026-11-24T13:60',
    '2026-11-24T13:05:07+24:00',
    '1764075907',
    '+999999-01-01',
    1764075907,
    null,
    undefined,
    {},
  ]
  for (const other of others) t.equal(timeOf(other), undefined, String(other))
})

t.test('corrects a clock by what it said when the call was sent', async t => {
  const cases: [timestamp: string, sentAt: string, corrected: string][] = [
    ['2026-11-24T12:59:50Z', '2026-11-24T13:00:00Z', '2026-11-24T12:59:50.000Z'],
    ['2026-11-24T12:00:00+01:00', '2026-11-24T11:00:30Z', '2026-11-24T12:59:30.000Z'],
    ['2026-11-24T20:00:00.250Z', '2026-11-24T20:00:01.000Z', '2026-11-24T12:59:59.250Z'],
    ['2026-11-24T13:10:00Z', '2026-11-24T13:00:00Z', '2026-11-24T13:10:00.000Z'],
    ['2010-01-01T00:00:00Z', '2026-11-24T13:00:00Z', '2010-01-01T00:00:00.000Z'],
  ]
  for (const [timestamp, sentAt, corrected] of cases) {
    t.strictSame(
      callTime({ timestamp }, sentAt, RECEIVED),
      { timestamp: corrected, original: timestamp, isSuspect: false },
      `${timestamp} sent at ${sentAt}`,
    )
    t.strictSame(
      callTime({ originalTimestamp: timestamp }, sentAt, RECEIVED),
      { timestamp: corrected, original: timestamp, isSuspect: false },
      'under its other name',
    )
  }
})

t.test('leaves a time as it is that cannot be corrected, or was', async t => {
  const timestamp = '2026-11-24T12:59:50+00:00'
  const asItIs = { timestamp, original: timestamp, isSuspect: false }
  for (const sentAt of [undefined, null, 'now', 1764075907]) {
    t.strictSame(callTime({ timestamp }, sentAt, RECEIVED), asItIs, String(sentAt))
  }
  t.strictSame(
    callTime({ timestamp, originalTimestamp: '2026-11-24T19:00:00Z' }, '2026-11-24T19:00:01Z', RECEIVED),
    { timestamp, original: '2026-11-24T19:00:00Z', isSuspect: false },
  )
  t.strictSame(callTime({}, '2026-11-24T13:00:00Z', RECEIVED), {
    timestamp: RECEIVED.toISOString(),
    original: undefined,
    isSuspect: false,
  })
})

t.test('flags what cannot be right', async t => {
  const cases: [timestamp: string, sentAt: string | undefined, corrected: string][] = [
    ['2099-01-01T00:00:00Z', undefined, '2099-01-01T00:00:00Z'],
    ['1970-01-01T00:00:05Z', undefined, '1970-01-01T00:00:05Z'],
    ['1970-01-01T00:00:05Z', '1970-01-01T00:00:15Z', '2026-11-24T12:59:50.000Z'],
    ['2026-11-24T13:00:00Z', '1970-01-01T00:00:00Z', '2083-10-18T02:00:00.000Z'],
    ['9999-12-31T00:00:00Z', '0001-01-01T00:00:00Z', '9999-12-31T00:00:00Z'],
    ['+012026-01-01T00:00:00Z', undefined, '+012026-01-01T00:00:00Z'],
  ]
  for (const [timestamp, sentAt, corrected] of cases) {
    t.strictSame(
      callTime({ timestamp }, sentAt, RECEIVED),
      { timestamp: corrected, original: timestamp, isSuspect: true },
      `${timestamp} sent at ${sentAt}`,
    )
  }
})
