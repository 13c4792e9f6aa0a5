/** Faults of the brokers, of the links between them, and of the store. */
import type { Rabbitmq } from '../services/rabbitmq.ts'
import type { Radosgw } from '../services/radosgw.ts'
import type { PeerLink } from './brokers.ts'
import {
  BEYOND_HEARTBEAT_MS,
  BEYOND_TICK_MS,
  DOWN_MS,
  type Fault,
  Missed,
  MOMENT_MS,
  silence,
  wait,
} from './fault.ts'
import type { Random } from './random.ts'
import type { Stage } from './stage.ts'

/** @param nodes number of nodes. The weights are divided by it, because each node has these faults */
export function brokerFaults(broker: Rabbitmq, nodes: number): Fault[] {
  const on = [broker]
  return [
    {
      name: 'SIGKILL broker',
      weight: 4 / nodes,
      on,
      inject: async random => {
        await broker.kill()
        await wait(random, DOWN_MS)
        await broker.start()
      },
    },
    {
      name: 'SIGSTOP broker',
      weight: 2 / nodes,
      on,
      inject: async random => {
        broker.pause()
        await silence(random, nodes > 1)
        broker.resume()
      },
    },
    {
      name: 'memory alarm',
      weight: 2 / nodes,
      on,
      inject: async random => {
        await broker.ctl('set_vm_memory_high_watermark', '0.0001')
        await wait(random, [500, 5_000])
        await broker.ctl('set_vm_memory_high_watermark', '0.4')
      },
    },
  ]
}

/** Faults of the link between two brokers. */
export function peerFaults(stage: Stage, link: PeerLink): Fault[] {
  const links = stage.brokers.peerLinks.length
  const on = [link, ...link.nodes]
  const disconnect = async (random: Random) => {
    const [from, to] = random.chance(0.5) ? link.nodes : [link.nodes[1], link.nodes[0]]
    const answer = await from.ctl('eval', `erlang:disconnect_node('${to.nodeName}').`)
    if (answer.trim() !== 'true') throw new Missed(`${link.name}: ${answer.trim()}`)
  }
  return [
    {
      name: 'peer link cut',
      weight: 3 / links,
      on,
      inject: async random => {
        let cut = 0
        for (let times = random.between(1, 3); times > 0; times--) {
          cut += link.cut()
          await wait(random, [300, 3_000])
        }
        if (cut === 0) throw new Missed(`${link.name}: no connection was open`)
      },
    },
    {
      name: 'peer link stalled',
      weight: 2 / links,
      on,
      inject: async random => {
        const resume = link.stall()
        await wait(random, MOMENT_MS)
        resume()
      },
    },
    {
      name: 'peer link stalled beyond net_ticktime',
      weight: 3 / links,
      on,
      inject: async random => {
        const resume = link.stall()
        await wait(random, BEYOND_TICK_MS)
        const isApart = await link.isApart().finally(resume)
        if (!isApart) throw new Missed(`${link.name}: the nodes did not time each other out`)
      },
    },
    {
      // RabbitMQ deactivates the consumers of one node, and reactivates them, without telling the clients.
      name: 'peer disconnected',
      weight: 3 / links,
      on,
      inject: disconnect,
    },
    ...stage.archivers.map(archiver => ({
      // Another archiver archives meanwhile, and is killed before the deactivated one is active again.
      name: 'peer disconnected, SIGKILL archiver',
      weight: 3 / links,
      on: [...on, archiver],
      inject: async (random: Random) => {
        const resume = random.chance(0.5) ? link.stall() : () => {}
        await disconnect(random).finally(resume)
        await wait(random, [0, 4_000])
        await archiver.kill()
        await wait(random, DOWN_MS)
        stage.start(archiver, random)
      },
    })),
  ]
}

export function storeFaults(store: Radosgw): Fault[] {
  return [
    {
      name: 'SIGKILL store',
      weight: 4,
      on: [store],
      inject: async random => {
        await store.killGateway()
        await wait(random, DOWN_MS)
        await store.startGateway()
      },
    },
    {
      name: 'SIGSTOP store',
      weight: 1,
      on: [store],
      inject: async random => {
        store.pauseGateway()
        await wait(random, random.chance(0.5) ? MOMENT_MS : BEYOND_HEARTBEAT_MS)
        store.resumeGateway()
      },
    },
  ]
}
