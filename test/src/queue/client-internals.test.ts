/** Checks that the installed rabbitmq-client works inside as client-internals.ts expects. Needs no broker. */
import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer, Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { type Channel, Connection } from 'rabbitmq-client'
import { type Test, test } from 'tap'
import {
  CLIENT_VERSION,
  deliverRawBodies,
  ReturnBarrier,
  rawBody,
  resetHeartbeat,
  SocketGate,
  socketOf,
  useNegotiatedFrameSize,
} from '../../../src/queue/rabbitmq/client-internals.ts'

const require = createRequire(import.meta.url)
const FRAME_BYTES_MAX = 8192
/** Method ids of AMQP 0-9-1: class 60, methods 50 (return), 60 (deliver) and 80 (ack). */
const RETURN = 0x3c0032
const DELIVER = 0x3c003c
const ACK = 0x3c0050

interface ChannelInternals extends Channel {
  readonly _state: {
    mode: number
    readonly maxFrameSize: number
    readonly unconfirmed: Map<number, { resolve(): void }>
    readonly consumers: Map<string, (message: { body: unknown }) => void>
  }
  _onMethod(frame: { methodId: number; params: object }): void
  _onHeader(frame: { bodySize: number; fields: Record<string, unknown> }): void
  _onBody(frame: { payload: Buffer }): void
}

interface ConnectionInternals {
  readonly _opt: { frameMax: number }
  readonly _state: { frameMax: number; hasRead: boolean }
}

interface PackageJson {
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
}

function readPackage(path: string | URL): PackageJson {
  return JSON.parse(readFileSync(path, 'utf8'))
}

/** A channel of the real library, on a connection that only discards what is written. */
function openChannel(): ChannelInternals {
  const { Channel: ChannelClass } = require('rabbitmq-client/lib/Channel.js')
  const connection = Object.assign(new EventEmitter(), {
    _opt: { frameMax: FRAME_BYTES_MAX },
    _socket: new PassThrough().resume(),
  })
  return new ChannelClass(1, connection)
}

/** A server that sends nothing by itself, and a connection of the real library to it. */
async function connect(t: Test): Promise<{ connection: Connection; peer: Socket }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const accepted = once(server, 'connection')
  const connection = new Connection({ url: `amqp://127.0.0.1:${port}` })
  connection.on('error', () => {})
  const [peer] = (await accepted) as [Socket]
  t.teardown(() => {
    connection.unsafeDestroy()
    peer.destroy()
    server.close()
  })
  return { connection, peer }
}

function internalsOf(connection: Connection): ConnectionInternals {
  return connection as unknown as ConnectionInternals
}

test('the installed version is the pinned one', async t => {
  const installed = readPackage(require.resolve('rabbitmq-client/package.json'))
  const own = readPackage(new URL('../../../package.json', import.meta.url))
  t.equal(
    installed.version,
    CLIENT_VERSION,
    'read client-internals.ts against the new version, then change CLIENT_VERSION',
  )
  t.equal(own.dependencies['rabbitmq-client'], CLIENT_VERSION, 'package.json pins it exactly')
})

test('a connection has a socket, a heartbeat flag and a frame size', async t => {
  const { connection } = await connect(t)
  t.type(socketOf(connection), Socket)
  const { _opt, _state } = internalsOf(connection)
  t.type(_opt.frameMax, 'number')
  t.type(_state.frameMax, 'number')
  t.not(_state.hasRead, true)
  resetHeartbeat(connection)
  t.equal(_state.hasRead, true)
})

test('the library itself sets the heartbeat flag on each frame', async t => {
  const { connection } = await connect(t)
  const internals = connection as unknown as ConnectionInternals & { _handleChunk(frame: undefined): void }
  internals._handleChunk(undefined)
  t.equal(internals._state.hasRead, true)
})

test('a channel takes its frame size from the options of its connection', async t => {
  const { connection } = await connect(t)
  t.equal(openChannel()._state.maxFrameSize, FRAME_BYTES_MAX)
  internalsOf(connection)._state.frameMax = FRAME_BYTES_MAX / 2
  useNegotiatedFrameSize(connection)
  t.equal(internalsOf(connection)._opt.frameMax, FRAME_BYTES_MAX / 2)
})

test('a channel delivers raw bodies', async t => {
  const json = Buffer.from('{"n":12345678901234567890}')
  const deliver = (channel: ChannelInternals) => {
    channel._onMethod({ methodId: DELIVER, params: { consumerTag: 'c' } })
    channel._onHeader({ bodySize: json.length, fields: { contentType: 'application/json' } })
    channel._onBody({ payload: json })
  }
  const bodyFrom = (channel: ChannelInternals) =>
    new Promise<unknown>(resolve => {
      channel._state.consumers.set('c', ({ body }) => resolve(body))
      deliver(channel)
    })
  const plain = openChannel()
  t.throws(() => rawBody({}), TypeError)
  t.notOk(Buffer.isBuffer(await bodyFrom(plain)), 'otherwise the library parses JSON, as expected')
  const raw = openChannel()
  deliverRawBodies(raw)
  t.same(rawBody(await bodyFrom(raw)), json)
})

test('a return that was read before a confirm is emitted before the barrier is passed', async t => {
  const channel = openChannel()
  channel._state.mode = 2
  const order: string[] = []
  channel.on('basic.return', message => order.push(`return ${message.correlationId}`))
  const barrier = new ReturnBarrier()
  const confirm = (tag: number) => {
    const confirmed = new Promise<void>(resolve => channel._state.unconfirmed.set(tag, { resolve }))
    const passed = confirmed.then(() => {
      order.push(`confirm ${tag}`)
      return barrier.passed()
    })
    return passed.then(() => order.push(`passed ${tag}`))
  }
  const ack = (deliveryTag: number) =>
    channel._onMethod({ methodId: ACK, params: { deliveryTag, multiple: false } })
  const both = Promise.all([confirm(1), confirm(2)])
  ack(1)
  // The first confirm has called `passed` by then.
  await Promise.resolve().then(() => {})
  channel._onMethod({ methodId: RETURN, params: {} })
  channel._onHeader({ bodySize: 0, fields: { correlationId: '2' } })
  ack(2)
  await both
  t.same(order, ['confirm 1', 'confirm 2', 'return 2', 'passed 1', 'passed 2'])
})

test('while its gate is shut, the library reads nothing from a socket', async t => {
  const { connection, peer } = await connect(t)
  const socket = socketOf(connection)
  const gate = new SocketGate(socket)
  gate.shut()
  let errors = 0
  connection.on('error', () => errors++)
  const readable = once(socket, 'readable')
  // A broker of another protocol version answers so, and the library reports it once it has read that.
  peer.write(Buffer.from('AMQP\0\0\x08\0', 'latin1'))
  await readable
  t.equal(socket.readableLength, 8)
  t.equal(errors, 0)
  const failed = once(connection, 'error')
  gate.open()
  t.match(await failed, [{ code: 'VERSION_MISMATCH' }])
})
