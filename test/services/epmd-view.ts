/**
 * A proxy between one Erlang node and the port mapper (epmd), which the node asks for the ports of other nodes. It
 * forwards the node's requests, and replaces the port in each answer. So a test can put a TCP proxy on the
 * connections that this node opens to another node, and only on these.
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
/** Offset of the port. The tag and the result come before it; the result is 0 if epmd knows the node. */
const PORT_AT = 2
const ANSWER_BYTES_MIN = 4

/** Resolves to the port for connections to the node NAME (without @host), which listens on `port`. */
export type PortOf = (name: string, port: number) => Promise<number>

export class EpmdView {
  /** The value of ERL_EPMD_PORT for the node. */
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
    // The request is a registration. It holds as long as the connection is open, so nothing is ended here.
    else epmd.pipe(client)
  }

  /** The list of names begins with epmd's own port. A node rejects a list with another port than it asked. */
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

/** Resolves to one request with its length field, or to a part of it if the client closes the connection. */
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
