import { setTimeout as sleep } from 'node:timers/promises'
import { whenTaken } from '../drain.ts'
import { sendPaced } from '../load.ts'
import { BATCH_EVENTS } from '../options.ts'
import { cpuUs, memory } from '../process-figures.ts'
import { progress } from '../progress.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Site } from '../site.ts'
import type { Line, RowResult } from '../table.ts'

/** Samples of memory in the result. */
const SAMPLES = 10

/** Measures whether the memory of an ingest process and of an archiver stays constant under a constant load. */
export async function flat(site: Site): Promise<RowResult> {
  const { minutes, flatRate, connections, batchEvents = BATCH_EVENTS } = site.options
  const amqp = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: site.queue().name }
  const { path } = site.fresh('archive')
  const ingest = site.frequency(['--role=ingest'], amqp)
  const archiver = site.frequency(['--role=archive'], {
    ...amqp,
    ARCHIVE_URL: path,
    BATCH_EVENTS_MAX: String(batchEvents),
    BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
  })
  const archived = whenTaken(site, archiver)
  const servers = [ingest, archiver]
  const url = `${await ingest.listening()}/api/t`
  const seconds = Math.ceil(minutes * 60)
  const loading = sendPaced({ url, bodies: site.bodies('minted').file, connections, seconds }, flatRate)
  const samples = await watch(servers, seconds)
  const load = await loading
  await archived(load.answers)

  const cpu = servers.map(({ pid }) => cpuUs(pid))
  const figures = servers.map(({ pid }) => memory(pid))
  for (const server of servers) await server.stop()
  const { events, doubled } = await site.verify(path)
  const flaws: string[] = []
  if (load.errors > 0) flaws.push(`${load.errors} requests were refused or failed`)
  if (events < load.answers || events > load.answers + connections || doubled > 0)
    flaws.push(
      `${load.answers} events were answered; the archive has ${events}, ${doubled} of them more than once`,
    )
  const names = ['frequency, taking events', 'frequency, archiving']
  return {
    title: `Memory over ${seconds} s at ${flatRate} events a second, from HTTP to the archive; ids minted here`,
    goal: 'at most 200 MiB a process, and flat',
    lines: names.map((name, n): Line => {
      const counted = `${load.answers} answered, ${events} archived`
      const ownUs = (cpu[n] ?? 0) / events
      const own = figures[n]
      return {
        name,
        cpuUs: [ownUs],
        counted,
        flaws: n === 0 ? flaws : [],
        ...(own !== undefined && { memory: own }),
      }
    }),
    notes: names.map((name, n) => {
      const series = samples.map(sample => Math.round(sample[n] ?? 0)).join(' ')
      return `${name}: anonymous memory in MiB at each tenth of the time: ${series}`
    }),
  }
}

/** Resolves to samples of the anonymous memory of each server, one for each tenth of the time. */
async function watch(servers: readonly ServerProcess[], seconds: number): Promise<number[][]> {
  const samples: number[][] = []
  for (let n = 0; n < SAMPLES; n++) {
    await sleep((seconds * 1_000) / SAMPLES)
    samples.push(servers.map(({ pid }) => memory(pid).anonMib))
    progress(`  ${(samples.at(-1) ?? []).map(mib => `${Math.round(mib)} MiB`).join(', ')}`)
  }
  return samples
}
