import { BEYOND_HEARTBEAT_MS, type Fault, Missed, MOMENT_MS, wait } from './fault.ts'
import type { Link } from './link.ts'

const SLOW_BYTES_PER_SECOND = [20_000, 200_000] as const

/** Faults of the link between a process and a server. @param kind begins their names */
export function linkFaults(kind: string, link: Link, role: 'ingest' | 'archive'): Fault[] {
  const on = [link]
  return [
    {
      name: `${kind} cut`,
      weight: 1,
      on,
      inject: async random => {
        let cut = 0
        for (let times = random.between(1, 4); times > 0; times--) {
          cut += link.cut()
          await wait(random, MOMENT_MS)
        }
        if (cut === 0) throw new Missed(`${kind}: no connection was open`)
      },
    },
    {
      name: `${kind} stalled`,
      weight: 1,
      on,
      inject: async random => {
        const resume = link.stall()
        await wait(random, random.chance(0.5) ? MOMENT_MS : BEYOND_HEARTBEAT_MS)
        resume()
      },
    },
    {
      name: `${kind}: old connections held`,
      weight: role === 'archive' ? 1 : 0.5,
      on,
      inject: async random => {
        const release = link.hold()
        await wait(random, BEYOND_HEARTBEAT_MS)
        release()
      },
    },
    {
      name: `${kind} throttled`,
      weight: 0.5,
      on,
      inject: async random => {
        link.throttle(random.between(...SLOW_BYTES_PER_SECOND))
        await wait(random, [2_000, 8_000])
        link.throttle(Number.POSITIVE_INFINITY)
      },
    },
  ]
}
