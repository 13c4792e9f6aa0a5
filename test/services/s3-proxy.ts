/** A proxy before a real S3 server, with the same faults as the S3 server in memory (s3-server.ts). */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request as sendRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { answer, RequestCounts, type S3FaultFunction, type S3RequestInfo } from './s3-fault.ts'
import { parseRequest, type S3Reply } from './s3-operations.ts'

export interface S3Proxy {
  /** Of the form http://127.0.0.1:PORT */
  readonly endpoint: string
  /** Oldest first. */
  readonly requests: S3RequestInfo[]
  /** Calls `fault` for each request from now on. Without an argument, requests have no faults any more. */
  fault(fault?: S3FaultFunction): void
  close(): Promise<void>
}

/** Starts a proxy on a free port of 127.0.0.1. It reads a request and an answer completely before it forwards them. */
export async function startS3Proxy(endpoint: string): Promise<S3Proxy> {
  const counts = new RequestCounts()
  const requests: S3RequestInfo[] = []
  let decide: S3FaultFunction = () => undefined
  const http = createServer(async (incoming, response) => {
    const request = parseRequest(incoming.method ?? '', incoming.url ?? '', incoming.headers)
    const info = counts.next(request)
    requests.push(info)
    await answer(request, decide(info) ?? {}, { incoming, response }, async () => {
      const body = await buffer(incoming)
      return () => forward(endpoint, incoming, body)
    })
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  http.unref()
  return {
    endpoint: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    requests,
    fault(fault) {
      decide = fault ?? (() => undefined)
    },
    async close() {
      const closed = once(http, 'close')
      http.close()
      http.closeAllConnections()
      await closed
    },
  }
}

/** Forwards a request with all of its headers. The signature includes `host`. */
async function forward(endpoint: string, incoming: IncomingMessage, body: Buffer): Promise<S3Reply> {
  const { hostname, port } = new URL(endpoint)
  const { method, url: path, headers } = incoming
  const forwarded = sendRequest({ hostname, port, method, path, headers, agent: false })
  forwarded.end(body)
  const [answered] = (await once(forwarded, 'response')) as [IncomingMessage]
  const { 'transfer-encoding': _, ...kept } = answered.headers
  return {
    status: answered.statusCode ?? 500,
    headers: kept as Record<string, string>,
    body: await buffer(answered),
  }
}
