/**
 * Stands for `@fastify/static` in the executable, for `@fastify/swagger-ui`: serves its files from memory. The names are
 * in the list that binary/build.ts writes, and the files are compressed with Brotli.
 */

import { extname } from 'node:path'
import { brotliDecompressSync } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import { packedFile } from '../src/process/packed-file.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
}

async function staticFiles(app: FastifyInstance): Promise<void> {
  const names: string[] = JSON.parse(String(packedFile('swagger-ui/files.json')))
  for (const name of names) {
    app.get(`/${name}`, { schema: { hide: true } }, async (_, reply) => {
      const file = brotliDecompressSync(packedFile(`swagger-ui/${name}`) as Buffer)
      return reply.type(TYPES[extname(name)] ?? 'application/octet-stream').send(file)
    })
  }
}

export default staticFiles
