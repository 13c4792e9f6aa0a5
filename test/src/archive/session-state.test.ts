import t from 'tap'
import { SessionState, type SessionStateName } from '../../../src/archive/session-state.ts'

function stateAfter(...states: readonly SessionStateName[]): SessionState {
  const state = new SessionState()
  for (const each of states) state.enter(each)
  return state
}

t.test('a session takes deliveries, finishes its batches and ends', async t => {
  const state = new SessionState()
  t.match(state, { isTaking: true, isActive: true })
  t.ok(state.enter('finishing'))
  t.match(state, { isTaking: false, isActive: true })
  t.ok(state.enter('ended'))
  t.match(state, { isTaking: false, isActive: false })
})

t.test('a failed session is not active, and a stop does not change that', async t => {
  for (const state of [stateAfter('failed'), stateAfter('finishing', 'failed')]) {
    t.match(state, { isTaking: false, isActive: false })
    t.notOk(state.enter('finishing'))
    t.notOk(state.enter('failed'), 'it fails once')
    t.match(state, { isTaking: false, isActive: false })
    t.ok(state.enter('ended'))
  }
})

t.test('an ended session stays ended', async t => {
  for (const next of ['taking', 'finishing', 'failed', 'ended'] as const)
    t.notOk(stateAfter('finishing', 'ended').enter(next), next)
})

t.test('only a session that was stopped or has failed can end', async t => {
  t.notOk(new SessionState().enter('ended'))
})
