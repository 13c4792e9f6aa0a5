import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { HOURS, LakeSite, lineOf, timing } from '../lake-site.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'

const EVENTS = 600_000
const PATH = '/api/t/batch'

/** Measures a replay of a compacted archive to a server on this machine, beside curl with the same bodies. */
export async function replay(site: Site): Promise<RowResult> {
  const { rounds, archiveEvents: events = EVENTS } = site.options
  const lake = await LakeSite.make(site, events)
  await lake.compact(HOURS)
  const bodies = lake.file('bodies')
  await mkdir(bodies)
  const config = lake.file('curl.txt')
  const files = await record(lake, bodies)
  const ours = timing('frequency replay')
  const peer = timing('curl, one connection')
  for (let round = 1; round <= rounds; round++) {
    await toServer(site, async url => {
      await rm(lake.file('checkpoint'), { force: true })
      await lake.timed(ours, [
        ...['replay', `--to=${url}`, '--no-progress'],
        `--checkpoint=${lake.file('checkpoint')}`,
      ])
    })
    await toServer(site, async url => {
      await writeFile(config, curlConfig(url, files))
      const startedAt = performance.now()
      await promisify(execFile)('curl', ['--silent', '--show-error', '--fail-early', '-K', config])
      peer.ms.push(Math.round(performance.now() - startedAt))
    })
    progress(`  replay: round ${round} of ${rounds}, ${ours.ms.at(-1)} ms and ${peer.ms.at(-1)} ms`)
  }
  await lake.close()
  return {
    title: `Replay of ${events} events to ${PATH} of a server with an embedded queue, 1,000 a request, one request at a time`,
    goal: '0.8 × curl',
    lines: [ours, peer].map(each => lineOf(each, events)),
    notes: [
      'curl has the bodies in files. The replay finds the events, and begins with the start of its engine.',
    ],
  }
}

/** Keeps the bodies that a replay sends. @returns their files */
async function record(lake: LakeSite, directory: string): Promise<string[]> {
  const files: string[] = []
  const server = createServer((request, response) => {
    const path = `${directory}/${files.length}.json`
    files.push(path)
    pipeline(request, createWriteStream(path)).then(
      () => response.end('{}'),
      error => response.destroy(error),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await lake.timed(timing('recorded'), [
    ...['replay', `--to=http://127.0.0.1:${port}${PATH}`, '--no-progress'],
    `--checkpoint=${lake.file('recorded')}`,
  ])
  server.close()
  return files
}

/** Starts a server for one run: it knows no ids of an earlier one. */
async function toServer(site: Site, send: (url: string) => Promise<void>): Promise<void> {
  const server = site.frequency([], {})
  await send(`${await server.listening()}${PATH}`)
  await server.stop()
}

function curlConfig(url: string, files: readonly string[]): string {
  const one = (file: string): string =>
    [
      `url = "${url}"`,
      `data-binary = "@${file}"`,
      'header = "content-type: application/json"',
      'header = "expect:"',
      'output = "/dev/null"',
      'fail',
    ].join('\n')
  return files.map(one).join('\nnext\n')
}
