import t from 'tap'
import { callTime } from '../../../src/segment/time.ts'
import { timeOf } from '../../../src/segment/time-forms.ts'

const RECEIVED = new Date('2026-11-24T13:00:00.000Z')

t.test('reads ISO 8601, in UTC if there is no offset', async t => {
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
    ['2026-11-24T13:05:07.1234567891234Z', '2026-11-24T13:05:07.123Z'],
    ['2026-11-24T13:05:07+01:00:30', '2026-11-24T12:04:37.000Z'],
    ['2026-11-24T24:00:00Z', '2026-11-25T00:00:00.000Z'],
    ['2026-12-31T24:00', '2027-01-01T00:00:00.000Z'],
    [' 2026-11-24T13:05:07Z\n', '2026-11-24T13:05:07.000Z'],
    ['20261124T130507Z', '2026-11-24T13:05:07.000Z'],
    ['20261124T130507.250+0100', '2026-11-24T12:05:07.250Z'],
    ['20261124T1305', '2026-11-24T13:05:00.000Z'],
    ['20261124', '2026-11-24T00:00:00.000Z'],
  ]
  for (const [text, iso] of moments) t.equal(timeOf(text), Date.parse(iso), text)
})

t.test('reads the default texts of other languages', async t => {
  const moments: [text: string, iso: string][] = [
    ['2026-11-24 13:05:07 UTC', '2026-11-24T13:05:07.000Z'],
    ['2026-11-24 13:05:07 +0100', '2026-11-24T12:05:07.000Z'],
    ['2026-11-24 13:05:07.123456789 +0000 UTC', '2026-11-24T13:05:07.123Z'],
    ['2026-11-24 13:05:07.5 +0100 CET m=+0.000123', '2026-11-24T12:05:07.500Z'],
    ['2026-11-24T13:05:07.123+01:00[Europe/Paris]', '2026-11-24T12:05:07.123Z'],
    ['2026-11-24T13:05:07Z[UTC]', '2026-11-24T13:05:07.000Z'],
    ['Tue, 24 Nov 2026 13:05:07 GMT', '2026-11-24T13:05:07.000Z'],
    ['Tue, 24 Nov 2026 13:05:07 +0100 (CET)', '2026-11-24T12:05:07.000Z'],
    ['4 Nov 2026 13:05 EST', '2026-11-04T18:05:00.000Z'],
    ['Tue Nov 24 2026 13:05:07 GMT+0100 (Central European Standard Time)', '2026-11-24T12:05:07.000Z'],
    ['Tue Nov 24 13:05:07 UTC 2026', '2026-11-24T13:05:07.000Z'],
    ['Tue Nov 24 13:05:07 +0100 2026', '2026-11-24T12:05:07.000Z'],
    ['Tue Nov  3 13:05:07 2026', '2026-11-03T13:05:07.000Z'],
  ]
  for (const [text, iso] of moments) t.equal(timeOf(text), Date.parse(iso), text)
  t.equal(timeOf(String(RECEIVED)), RECEIVED.getTime(), 'String(date)')
  t.equal(timeOf(RECEIVED.toUTCString()), RECEIVED.getTime(), 'toUTCString')
})

t.test('reads seconds and milliseconds since 1970', async t => {
  const moments: [value: string | number, iso: string][] = [
    [1764075907, '2025-11-25T13:05:07.000Z'],
    [1764075907123, '2025-11-25T13:05:07.123Z'],
    [1764075907.5, '2025-11-25T13:05:07.500Z'],
    [0, '1970-01-01T00:00:00.000Z'],
    [-86400, '1969-12-31T00:00:00.000Z'],
    ['1764075907', '2025-11-25T13:05:07.000Z'],
    ['1764075907123', '2025-11-25T13:05:07.123Z'],
    ['1764075907.25', '2025-11-25T13:05:07.250Z'],
  ]
  for (const [value, iso] of moments) t.equal(timeOf(value), Date.parse(iso), String(value))
})

t.test('does not read ambiguous times', async t => {
  const others = [
    '',
    'yesterday',
    '2026-02-30',
    '2026-13-01',
    '2026-11-24T24:01',
    '2026-11-24T25:00',
    '2026-11-24T13:60',
    '2026-11-24T13:05:07+24:00',
    '2026',
    '11/24/2026',
    '24.11.2026 13:05',
    '20261124130507',
    '٢٠٢٦-١١-٢٤T١٣:٠٥:٠٧Z',
    '2026-11-24T13:05:07[Europe/Paris]',
    'Tue Nov 24 13:05:07 CET 2026',
    'Tue, 24 Nov 2026 13:05:07 A',
    '31 Apr 2026 13:05 GMT',
    '+012026-01-01T00:00:00Z',
    '+999999-01-01',
    'x'.repeat(1_000_000),
    Number.POSITIVE_INFINITY,
    1764075907123456,
    true,
    null,
    undefined,
    {},
  ]
  for (const other of others) t.equal(timeOf(other), undefined, String(other))
})

t.test("corrects a client's clock by sentAt", async t => {
  const cases: [timestamp: string, sentAt: string, corrected: string][] = [
    ['2026-11-24T12:59:50Z', '2026-11-24T13:00:00Z', '2026-11-24T12:59:50.000Z'],
    ['2026-11-24T12:00:00+01:00', '2026-11-24T11:00:30Z', '2026-11-24T12:59:30.000Z'],
    ['2026-11-24T20:00:00.250Z', '2026-11-24T20:00:01.000Z', '2026-11-24T12:59:59.250Z'],
    ['2026-11-24T13:10:00Z', '2026-11-24T13:00:00Z', '2026-11-24T13:10:00.000Z'],
    ['2010-01-01T00:00:00Z', '2026-11-24T13:00:00Z', '2010-01-01T00:00:00.000Z'],
  ]
  for (const [timestamp, sentAt, corrected] of cases) {
    t.strictSame(
      callTime({ timestamp }, timeOf(sentAt), RECEIVED),
      { timestamp: corrected, original: 'timestamp', isSuspect: false },
      `${timestamp} sent at ${sentAt}`,
    )
    t.strictSame(
      callTime({ originalTimestamp: timestamp }, timeOf(sentAt), RECEIVED),
      { timestamp: corrected, original: 'originalTimestamp', isSuspect: false },
      'as originalTimestamp',
    )
  }
})

t.test('does not change a time that cannot be corrected, or was corrected before', async t => {
  const timestamp = '2026-11-24T12:59:50+00:00'
  const asItIs = { timestamp, original: 'timestamp', isSuspect: false }
  for (const sentAt of [undefined, null, 'now', { at: 1764075907 }]) {
    t.strictSame(callTime({ timestamp }, timeOf(sentAt), RECEIVED), asItIs, String(sentAt))
  }
  t.strictSame(
    callTime(
      { timestamp, originalTimestamp: '2026-11-24T19:00:00Z' },
      timeOf('2026-11-24T19:00:01Z'),
      RECEIVED,
    ),
    { timestamp, original: 'originalTimestamp', isSuspect: false },
  )
  t.strictSame(callTime({}, timeOf('2026-11-24T13:00:00Z'), RECEIVED), {
    timestamp: RECEIVED.toISOString(),
    original: undefined,
    isSuspect: false,
  })
})

t.test('marks a time as suspect if it cannot be right', async t => {
  const cases: [timestamp: string, sentAt: string | undefined, corrected: string][] = [
    ['2099-01-01T00:00:00Z', undefined, '2099-01-01T00:00:00Z'],
    ['1970-01-01T00:00:05Z', undefined, '1970-01-01T00:00:05Z'],
    ['1970-01-01T00:00:05Z', '1970-01-01T00:00:15Z', '2026-11-24T12:59:50.000Z'],
    ['2026-11-24T13:00:00Z', '1970-01-01T00:00:00Z', '2083-10-18T02:00:00.000Z'],
    ['9999-12-31T00:00:00Z', '0001-01-01T00:00:00Z', '9999-12-31T00:00:00Z'],
    ['1970-01-01T24:00:00Z', undefined, '1970-01-02T00:00:00.000Z'],
    ['+012026-01-01T00:00:00Z', undefined, RECEIVED.toISOString()],
    ['yesterday', '2026-11-24T13:00:00Z', RECEIVED.toISOString()],
    ['', undefined, RECEIVED.toISOString()],
  ]
  for (const [timestamp, sentAt, corrected] of cases) {
    t.strictSame(
      callTime({ timestamp }, timeOf(sentAt), RECEIVED),
      { timestamp: corrected, original: 'timestamp', isSuspect: true },
      `${timestamp} sent at ${sentAt}`,
    )
  }
})

t.test('of two times the readable one counts, and an unreadable one is marked as suspect', async t => {
  const read = '2026-11-24T12:59:50Z'
  t.strictSame(callTime({ timestamp: read, originalTimestamp: 'now' }, undefined, RECEIVED), {
    timestamp: read,
    original: 'originalTimestamp',
    isSuspect: true,
  })
  t.strictSame(callTime({ timestamp: 'now', originalTimestamp: read }, undefined, RECEIVED), {
    timestamp: read,
    original: 'originalTimestamp',
    isSuspect: true,
  })
  t.strictSame(callTime({ timestamp: null, originalTimestamp: null }, undefined, RECEIVED), {
    timestamp: RECEIVED.toISOString(),
    original: undefined,
    isSuspect: false,
  })
})

t.test('corrects times that are numbers, with a sentAt that is a number', async t => {
  const sentAt = RECEIVED.getTime() / 1000 + 3600
  t.strictSame(callTime({ timestamp: sentAt - 10 }, timeOf(sentAt), RECEIVED), {
    timestamp: '2026-11-24T12:59:50.000Z',
    original: 'timestamp',
    isSuspect: false,
  })
})
