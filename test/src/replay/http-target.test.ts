import { test } from 'tap'
import { progressText } from '../../../src/cli/replay/progress.ts'
import { bodyForm } from '../../../src/replay/event-bodies.ts'
import { retryAfterMs } from '../../../src/replay/http-target.ts'

test('retry-after is seconds or a date, and has a bound', async t => {
  const now = Date.parse('2026-11-24T13:00:00Z')
  t.equal(retryAfterMs(undefined, now), undefined)
  t.equal(retryAfterMs('3', now), 3_000)
  t.equal(retryAfterMs('Tue, 24 Nov 2026 13:00:05 GMT', now), 5_000)
  t.equal(retryAfterMs('Tue, 24 Nov 2026 12:00:00 GMT', now), 0)
  t.equal(retryAfterMs('86400', now), 600_000)
  t.equal(retryAfterMs('soon', now), undefined)
})

test('the body is that of the path', async t => {
  const events = ['{"event":"a","user_id":7}', '{"type":"page","sentAt":"x","userId":"u"}'].map(each =>
    Buffer.from(each),
  )
  const bodyOf = (url: string, body?: 'json' | 'ndjson', eventsMax?: number) =>
    bodyForm(new URL(url), body, eventsMax).body(events).toString()
  t.equal(
    bodyOf('https://api.segment.io/v1/batch'),
    '{"batch":[{"event":"a","type":"track","userId":7},{"type":"page","userId":"u"}]}',
  )
  t.equal(bodyOf('http://h/p/api/t/batch'), events.join('\n'))
  t.equal(bodyOf('http://h/hook', 'ndjson', 2), events.join('\n'))
  t.equal(bodyOf('http://h/hook', undefined, 2), `[${events.join(',')}]`)
  t.equal(bodyOf('http://h/hook'), String(events[0]))
  t.strictSame(bodyForm(new URL('http://h/v1/batch'), undefined, 5_000).limits, {
    eventsMax: 1_000,
    bytesMax: 499_000,
  })
})

test('progress has an estimate after a second', async t => {
  const start = { sent: 0, share: 0 }
  t.equal(progressText(start, { sent: 500, share: 0.1 }, 0.5), '10%  500 events  1,000/s')
  t.equal(progressText(start, { sent: 1_500, share: 0.5 }, 10), '50%  1,500 events  150/s  about 10 s left')
  t.equal(progressText(start, { sent: 1_500, share: 0.01 }, 60), '1%  1,500 events  25/s  about 2 h left')
})
