/** Faults of data: full disks, damaged objects and log records, messages of other programs. */
import { until } from '../services/wait.ts'
import { damage, newestObject } from './damage.ts'
import { type Fault, Missed, wait } from './fault.ts'
import { ForeignPublisher } from './foreign.ts'
import type { Program } from './program.ts'
import type { Stage } from './stage.ts'
import { QUEUE } from './stage.ts'
import { LOG_PREFIX, OBJECTS_PREFIX, StoreClient } from './store-client.ts'

const FULL_MS = [1_000, 6_000] as const
const NAMED_MS_MAX = 60_000
/** Where a record has the length of its head: see src/log/log-record.ts. */
const LOG_HEAD_LENGTH_AT = 8

export function dataFaults(stage: Stage): Fault[] {
  return [
    foreignMessages(stage),
    damagedObject(stage),
    damagedRecord(stage),
    ...stage.programs.flatMap(program => (program.disk === undefined ? [] : [fullDisk(stage, program)])),
  ]
}

function foreignMessages(stage: Stage): Fault {
  return {
    name: 'foreign messages',
    weight: 2,
    on: [stage.ledger],
    inject: async random => {
      const connection = stage.connect()
      try {
        const confirmed = await new ForeignPublisher(connection, QUEUE, stage.ledger, random).publish()
        if (confirmed === 0) throw new Missed('The broker confirmed no message')
      } catch (error) {
        // The broker has failed meanwhile. Unconfirmed messages may be on the queue or not.
        if (!(error instanceof Missed)) stage.note(`foreign messages: ${(error as Error).message}`)
        else throw error
      } finally {
        await connection.close()
      }
    },
  }
}

/** The events in the object are lost to readers. Everything else has to work. */
function damagedObject(stage: Stage): Fault {
  return {
    name: 'damaged object',
    weight: 1,
    on: [stage.store],
    inject: async random => {
      const client = new StoreClient(stage.store)
      try {
        await wait(random, [0, 3_000])
        const newest = await newestObject(client, OBJECTS_PREFIX, stage.damaged)
        if (newest === undefined) throw new Missed('There is no new object')
        stage.note(`damages ${newest.key}`)
        stage.damaged.set(newest.key, await damage(client, newest.key, random))
      } finally {
        client.close()
      }
    },
  }
}

/** Archivers that have not read the record yet stop, and log its number. Then the record is repaired. */
function damagedRecord(stage: Stage): Fault {
  return {
    name: 'damaged-record',
    isOptional: true,
    weight: 1,
    on: [stage.store, ...stage.archivers],
    inject: async random => {
      const client = new StoreClient(stage.store)
      try {
        await Promise.all(stage.archivers.map(archiver => archiver.stop()))
        const newest = (await client.list(LOG_PREFIX)).at(-1)
        if (newest !== undefined) await damage(client, newest.key, random, headBytes)
        const logs = stage.archivers.map(({ log }) => log.length)
        for (const archiver of stage.archivers) {
          archiver.loseData()
          stage.start(archiver, random)
        }
        if (newest === undefined) throw new Missed('There is no log')
        const number = Number(newest.key.slice(LOG_PREFIX.length))
        const isNamed = new RegExp(`\\b0*${number}\\b`)
        await until(`an archiver logs record ${number}`, NAMED_MS_MAX, () =>
          stage.archivers.some(({ log }, index) => isNamed.test(log.slice(logs[index]))),
        )
        await repair(stage.archivers[0] as Program, number)
      } finally {
        client.close()
      }
    },
  }
}

/** Length of a record's head. Objects behind it that are stored already may be damaged unnoticed. */
function headBytes(record: Buffer): number {
  return record.readUInt32LE(LOG_HEAD_LENGTH_AT)
}

async function repair(archiver: Program, number: number): Promise<void> {
  const { code, output } = await archiver.command('log', 'repair', '--yes', String(number))
  if (code !== 0) throw new Error(`frequency log repair ${number} ended with code ${code}: ${output}`)
}

function fullDisk(stage: Stage, program: Program): Fault {
  const { disk, role, brokerLink } = program
  return {
    name: `full disk of an ${role === 'ingest' ? 'ingest' : 'archiver'}`,
    weight: 2,
    on: [program, brokerLink],
    inject: async random => {
      // An ingest process needs its disk only while the broker does not accept events.
      const resume = role === 'ingest' && random.chance(0.5) ? brokerLink.stall() : () => {}
      const isFull = disk?.fill()
      await wait(random, FULL_MS)
      resume()
      await wait(random, FULL_MS)
      disk?.free()
      if (program.isOver) stage.start(program, random)
      if (isFull !== true) throw new Missed(`${program.name}: its disk was not full`)
    },
  }
}
