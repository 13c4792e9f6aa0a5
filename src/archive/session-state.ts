/**
 * The state of an archive session:
 *
 *   taking ──(stop)──► finishing ──(all batches are archived)──► ended
 *      │                   │                                       ▲
 *      └────(error)────────┴──────────► failed ────────────────────┘
 *
 * taking: deliveries go into batches. finishing: no new deliveries, the batches are archived. failed: no event goes into
 * a batch, no batch goes to the committer, and nothing is acknowledged. ended: batches that are not complete are
 * discarded.
 */
export type SessionStateName = 'taking' | 'finishing' | 'failed' | 'ended'

/** All allowed changes. `failed` never becomes `finishing`: a stop must not complete the batches of a failed session. */
const TRANSITIONS: Record<SessionStateName, readonly SessionStateName[]> = {
  taking: ['finishing', 'failed'],
  finishing: ['failed', 'ended'],
  failed: ['ended'],
  ended: [],
}

export class SessionState {
  #state: SessionStateName = 'taking'

  get isTaking(): boolean {
    return this.#state === 'taking'
  }

  /** Whether batches may go to the committer, and deliveries may be acknowledged. */
  get isActive(): boolean {
    return this.#state === 'taking' || this.#state === 'finishing'
  }

  /** @returns false, with the state unchanged, if the change is not allowed */
  enter(state: SessionStateName): boolean {
    if (!TRANSITIONS[this.#state].includes(state)) return false
    this.#state = state
    return true
  }
}
