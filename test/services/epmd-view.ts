/**
 * What one Erlang node is told of where the others are. It stands between a node and the port mapper
 * (epmd): what the node asks goes on to epmd, and of each answer the port is replaced. So a test can put
 * a proxy on the way from one node to another, and on no other.
 *
 * The protocol: https://www.erlang.org/doc/apps/erts/erl_dist_protocol#epmd-protocol
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { freePort } from './ports.ts'

const NAMES_REQ = 110
const PORT_PLEASE2_REQ = 122
const PORT2_RESP = 119
const LENGTH_BYTES = 2
/** Tag and result go before the port; the result is 0 where the node is known. */
const PORT_AT = 2
const ANSWER_BYTES_MIN = 4

/** @returns the port to use for the node NAME (without @host), which listens on `port` */
export type PortOf = (name: string, port: number) => Promise<number>

export class EpmdView {
  /** The ERL_EPMD_PORT of the node. */
  readonly port: number
  readonly #epmdPort: number
  readonly #portOf: PortOf
  readonly #server: Server

  static async open(epmdPort: number, portOf: PortOf): Promise<EpmdView> {
    const view = new EpmdView(await freePort(), epmdPort, portOf)
    view.#server.listen(view.port, '127.0.0.1')
    await once(view.#server, 'listening')
    view.#server.unref()
    return view
  }

  private constructor(port: number, epmdPort: number, portOf: PortOf) {
    this.port = port
    this.#epmdPort = epmdPort
    this.#portOf = portOf
    this.#server = createServer(client => void this.#serve(client))
  }

  close(): void {
    this.#server.close()
  }

  async #serve(client: Socket): Promise<void> {
    const epmd = connect(this.#epmdPort, '127.0.0.1')
    for (const [socket, other] of [
      [client, epmd],
      [epmd, client],
    ] as const) {
      socket.on('error', () => {})
      socket.once('close', () => other.end())
      socket.unref()
    }
    const request = await requestOf(client)
    epmd.write(request)
    const tag = request[LENGTH_BYTES]
    if (tag === NAMES_REQ) client.end(this.#withOwnPort(await buffer(epmd)))
    else if (tag === PORT_PLEASE2_REQ) client.end(await this.#withPeerPort(request, await buffer(epmd)))
    // A node stays registered for as long as its connection is open.
    else epmd.pipe(client)
  }

  /** The list of names begins with the port mapper's own port, and a node believes no other. */
  #withOwnPort(answer: Buffer): Buffer {
    if (answer.length >= ANSWER_BYTES_MIN) answer.writeUInt32BE(this.port)
    return answer
  }

  async #withPeerPort(request: Buffer, answer: Buffer): Promise<Buffer> {
    if (answer.length < ANSWER_BYTES_MIN || answer[0] !== PORT2_RESP || answer[1] !== 0) return answer
    const name = request.toString('latin1', LENGTH_BYTES + 1)
    answer.writeUInt16BE(await this.#portOf(name, answer.readUInt16BE(PORT_AT)), PORT_AT)
    return answer
  }
}

/** Its length and what follows; whatever came where the client went before. */
async function requestOf(client: Socket): Promise<Buffer> {
  let request: Buffer = Buffer.alloc(0)
  const isWhole = () =>
    request.length >= LENGTH_BYTES && request.length >= LENGTH_BYTES + request.readUInt16BE(0)
  while (!isWhole() && !client.destroyed) {
    const [chunk] = (await Promise.race([once(client, 'data'), once(client, 'close')])) as [Buffer | boolean]
    if (typeof chunk !== 'boolean') request = Buffer.concat([request, chunk])
  }
  return request
}
