import { readFileSync } from 'node:fs'
import { STATUS_CODES } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { ObjectNotListed, ViewersTooMany } from '../src/errors.ts'
import { pageHeaders } from '../src/http/page-headers.ts'
import { parseFilter } from '../src/live/event-filter.ts'
import { LiveFeed } from '../src/live/live-feed.ts'
import { EVENTS_PER_SECOND_DEFAULT, EVENTS_PER_SECOND_MAX, Viewer } from '../src/live/viewer.ts'
import { isLoopbackName, ViewerAccess } from '../src/live/viewer-access.ts'
import { readEvents } from '../src/object/object-reader.ts'
import { packedFile } from '../src/process/packed-file.ts'

/** Limits of what is shown of an object. */
const OBJECT_EVENTS_MAX = 200
const OBJECT_CHARS_MAX = 512 * 1024

/** The page's files by their path below `/ui/`. They have the same place relative to this file in sources and build. */
const ASSETS: Record<string, { readonly file: string; readonly type: string }> = {
  'base.css': { file: '../ui/base.css', type: 'text/css' },
  'instruments.css': { file: '../ui/instruments.css', type: 'text/css' },
  'lists.css': { file: '../ui/lists.css', type: 'text/css' },
  'icon.svg': { file: '../ui/icon.svg', type: 'image/svg+xml' },
  'page.js': { file: '../ui/page.js', type: 'text/javascript' },
  'server.js': { file: '../ui/server.js', type: 'text/javascript' },
  'rate-chart.js': { file: '../ui/rate-chart.js', type: 'text/javascript' },
  'gauges.js': { file: '../ui/gauges.js', type: 'text/javascript' },
  'event-list.js': { file: '../ui/event-list.js', type: 'text/javascript' },
  'archive-list.js': { file: '../ui/archive-list.js', type: 'text/javascript' },
  'detail.js': { file: '../ui/detail.js', type: 'text/javascript' },
  'json-view.js': { file: '../ui/json-view.js', type: 'text/javascript' },
  'wording.js': { file: '../ui/wording.js', type: 'text/javascript' },
  'uplot.js': { file: 'uplot/dist/uPlot.iife.min.js', type: 'text/javascript' },
  'uplot.css': { file: 'uplot/dist/uPlot.min.css', type: 'text/css' },
}

const HEADERS = pageHeaders({ 'require-trusted-types-for': "'script'" })

/** Asks each worker for the keys of the objects that it has archived last. */
const LAST_OBJECTS = 'last objects'

const streamQuery = Type.Object({
  filter: Type.Optional(Type.String({ description: 'Part of a name, or field=value.' })),
  events: Type.Integer({
    minimum: 1,
    maximum: EVENTS_PER_SECOND_MAX,
    default: EVENTS_PER_SECOND_DEFAULT,
    description: 'Events per second that are sent at most.',
  }),
})

const objectQuery = Type.Object({ key: Type.String({ maxLength: 1024 }) })

function readAsset(file: string): Buffer {
  const packed = packedFile(file.replace('../', ''))
  if (packed !== undefined) return packed
  const path = file.startsWith('.')
    ? new URL(file, import.meta.url)
    : createRequire(import.meta.url).resolve(file)
  return readFileSync(path)
}

/** Answers in the form of every refusal, but does not count it: metrics of refusals are for events only. */
function answerError(thrown: FastifyError, _: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { statusCode = 500, code, message } = thrown
  if (statusCode >= 500 && !(thrown instanceof ViewersTooMany)) throw thrown
  return reply.code(statusCode).send({ statusCode, code, error: STATUS_CODES[statusCode], message })
}

function openFeed(app: FastifyInstance, config: Config): LiveFeed {
  const { queue, requests, readiness, log } = app
  const eventsPort = () =>
    app.adminAddress === undefined ? undefined : (app.server.address() as AddressInfo).port
  const own = { config, queue, requests, readiness, log, eventsPort }
  if (!app.hasDecorator('archiver')) return new LiveFeed({ ...own, archive: undefined })
  const { archiver, store } = app
  const { description } = store
  const { stats } = archiver
  const archive = { description, stats, oldestReceivedAt: () => archiver.oldestReceivedAt }
  return new LiveFeed({ ...own, archive })
}

/**
 * The live page: `GET /` with its files below `/ui/`; `GET /ui/stream`, server-sent events for the page and for
 * `frequency tail`; `GET /ui/object`, the beginning of an archived object.
 */
async function ui(app: FastifyInstance, config: Config): Promise<void> {
  if (config.ui === 'off') return
  const feed = openFeed(app, config)
  app.workerMessages.answer(LAST_OBJECTS, async () =>
    app.hasDecorator('archiver') ? app.archiver.stats.lastObjects.map(({ key }) => key) : [],
  )
  app.addHook('onReady', async () => feed.start())
  app.addHook('preClose', async () => feed.stop())

  await app.register(async scope => {
    const viewerAccess = new ViewerAccess(config.uiToken, mayBeReachedByOthers(config))
    scope.addHook('onRoute', route => {
      route.config = { ...route.config, forOperators: true }
    })
    scope.setErrorHandler(answerError)
    scope.addHook('onRequest', async (request, reply) => {
      void reply.headers(HEADERS)
      viewerAccess.admit(request.raw)
    })
    servePage(scope)
    serveData(scope, feed, viewerAccess)
  })
}

/**
 * Whether clients on other machines may reach the live page. A proxy on this machine makes their requests look as if
 * they came from this machine, so settings that suggest a proxy count as well.
 */
export function mayBeReachedByOthers({
  host,
  adminHost,
  adminPort,
  writeKeys,
  writeKeysFile,
  trustProxy,
  publicUrl,
}: Config): boolean {
  if (adminPort !== undefined) return !isLoopbackName(adminHost)
  return (writeKeys ?? writeKeysFile ?? trustProxy ?? publicUrl) !== undefined || !isLoopbackName(host)
}

function servePage(scope: FastifyInstance): void {
  const serve = (path: string, file: string, type: string): void => {
    const body = readAsset(file)
    scope.get(path, async ({ url }, reply) => {
      // The page names its files relative to itself: below a prefix its path must end in a slash.
      const [own = '', query] = url.split('?', 2)
      if (path === '/' && !own.endsWith('/'))
        return reply.redirect(`${own}/${query === undefined ? '' : `?${query}`}`, 308)
      return reply.type(`${type}; charset=utf-8`).header('cache-control', 'no-cache').send(body)
    })
  }
  serve('/', '../ui/index.html', 'text/html')
  for (const [name, { file, type }] of Object.entries(ASSETS)) serve(`/ui/${name}`, file, type)
}

function serveData(scope: FastifyInstance, feed: LiveFeed, viewerAccess: ViewerAccess): void {
  const onRequest = async ({ raw }: FastifyRequest): Promise<void> => viewerAccess.admitToData(raw)

  scope.get<{ Querystring: Static<typeof streamQuery> }>(
    '/ui/stream',
    { schema: { hide: true, querystring: streamQuery }, onRequest, exposeHeadRoute: false },
    async ({ query }, reply) => {
      const stream = new PassThrough()
      const viewer = new Viewer(stream, {
        filter: parseFilter(query.filter ?? ''),
        eventsPerSecond: query.events,
      })
      feed.add(viewer)
      stream.once('close', () => feed.remove(viewer))
      return reply.type('text/event-stream').header('cache-control', 'no-store').send(stream)
    },
  )

  scope.get<{ Querystring: Static<typeof objectQuery> }>(
    '/ui/object',
    { schema: { hide: true, querystring: objectQuery }, onRequest },
    async ({ query }, reply) => showObject(scope, query.key, reply),
  )
}

async function showObject(scope: FastifyInstance, key: string, reply: FastifyReply): Promise<FastifyReply> {
  // The connection may belong to another worker than the one whose page lists the object. So all are asked.
  const lists = await scope.workerMessages.ask(LAST_OBJECTS)
  if (!lists.flat().includes(key)) throw new ObjectNotListed(key)
  let text = ''
  let events = 0
  let isCut = false
  for await (const event of readEvents(scope.store, key)) {
    isCut = events === OBJECT_EVENTS_MAX || text.length > OBJECT_CHARS_MAX
    if (isCut) break
    text += `${event}\n`
    events++
  }
  return reply
    .type('text/plain; charset=utf-8')
    .headers({ 'cache-control': 'no-store', 'frequency-events': events, 'frequency-cut': String(isCut) })
    .send(text)
}

export default fp(ui, { name: 'ui', dependencies: ['queue', 'requests', 'health', 'worker-messages'] })
