/** A proxy in front of the server, with or without TLS. It records the requests. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse, STATUS_CODES } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { RETRY_AFTER_S } from '../../../plugins/errors.ts'
import { QueueUnavailable } from '../../../src/errors.ts'
import { temporaryDirectory } from '../../helpers/helper.ts'

/** The answer of nginx if the server behind it cannot be reached. */
const BAD_GATEWAY = '<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n'

export interface Seen {
  readonly method: string
  readonly path: string
  readonly isZipped: boolean
  readonly status: number
  /** When the request came, and when it was answered, in milliseconds of `performance.now()`. */
  readonly cameAt: number
  readonly answeredAt: number
}

export interface Front {
  readonly url: string
  /** A PEM file with the certificate of the proxy; undefined without TLS. */
  readonly certificateFile: string | undefined
  /** Answers 502 to every second one of the next posts, `count` times, although the server has taken them. */
  loseAnswers(count: number): void
  /** From the next post on, answers 503 to all posts for `durationMs`, as a server with a full queue does. */
  refuse(durationMs: number): void
  /** The answered requests, in the order of their answers. */
  readonly seen: readonly Seen[]
}

/**
 * Opens a proxy on 127.0.0.1. It passes requests on unchanged, and answers 502 if that fails, as nginx does.
 *
 * @param target the URL of the server
 */
export async function openFront(t: Test, target: string, isTls: boolean): Promise<Front> {
  const seen: Seen[] = []
  let toLose = 0
  let wasLost = false
  let toRefuseMs = 0
  let refusesUntil = 0
  const isRefused = (now: number) => {
    if (toRefuseMs > 0) refusesUntil = now + toRefuseMs
    toRefuseMs = 0
    return now < refusesUntil
  }
  const pass = (incoming: IncomingMessage, response: ServerResponse) => {
    const { url: path = '', method = 'GET', headers } = incoming
    const cameAt = performance.now()
    response.on('finish', () => {
      seen.push({
        method,
        path,
        isZipped: headers['content-encoding'] === 'gzip',
        status: response.statusCode,
        cameAt,
        answeredAt: performance.now(),
      })
    })
    if (method === 'POST' && isRefused(cameAt)) {
      incoming.on('end', () => answerQueueFull(response)).resume()
      return
    }
    const refuse = () => {
      if (response.headersSent) response.destroy()
      else response.writeHead(502, { 'content-type': 'text/html' }).end(BAD_GATEWAY)
    }
    const outgoing = request(target + path, { method, headers }, answer => {
      wasLost = method === 'POST' && toLose > 0 && !wasLost
      if (wasLost) {
        toLose -= 1
        answer.on('end', refuse).resume()
        return
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.on('error', refuse).pipe(response)
    })
    incoming.pipe(outgoing.on('error', refuse))
  }
  const certificate = isTls ? await createCertificate(t) : undefined
  const server = certificate ? createTlsServer(certificate.files, pass) : createServer(pass)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http${isTls ? 's' : ''}://127.0.0.1:${port}`,
    certificateFile: certificate?.path,
    loseAnswers: count => {
      toLose = count
    },
    refuse: durationMs => {
      toRefuseMs = durationMs
    },
    seen,
  }
}

function answerQueueFull(response: ServerResponse): void {
  const {
    statusCode = 503,
    code,
    message,
  } = new QueueUnavailable('The broker is not keeping up: send this again later.')
  const headers = { 'content-type': 'application/json; charset=utf-8', 'retry-after': String(RETRY_AFTER_S) }
  const body = { statusCode, code, error: STATUS_CODES[statusCode], message }
  response.writeHead(statusCode, headers).end(JSON.stringify(body))
}

/** Creates a self-signed certificate for 127.0.0.1, valid for a day. */
async function createCertificate(t: Test) {
  const directory = temporaryDirectory(t)
  const [key, path] = [join(directory, 'key.pem'), join(directory, 'certificate.pem')]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '1']
  const keyOptions = ['-newkey', 'rsa:2048', '-nodes', '-keyout', key]
  await promisify(execFile)('openssl', ['req', '-x509', ...keyOptions, ...subject, '-out', path])
  return { path, files: { key: readFileSync(key), cert: readFileSync(path) } }
}
