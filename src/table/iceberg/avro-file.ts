/** Writes and reads Avro container files: the manifests and manifest lists of Iceberg. */

import { randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { deflateRaw } from 'node:zlib'

/** A schema as Avro writes it in JSON, with the ids of Iceberg. */
export type AvroSchema = string | readonly AvroSchema[] | { readonly [name: string]: unknown }

type Avro = Awaited<ReturnType<typeof avro>>
type AvroType = ReturnType<Avro['Type']['forSchema']>

const MAGIC = Buffer.from('Obj\x01', 'latin1')
const SYNC_BYTES = 16

const deflate = promisify(deflateRaw)
/** By their JSON. A type is compiled, which takes milliseconds. */
const types = new Map<string, AvroType>()

/** Only what writes or reads Iceberg metadata loads it. */
async function avro() {
  return (await import('avsc')).default
}

function typeOf({ Type }: Avro, schema: AvroSchema): AvroType {
  const text = JSON.stringify(schema)
  const known = types.get(text)
  if (known !== undefined) return known
  const type = Type.forSchema(schema as never)
  types.set(text, type)
  return type
}

/**
 * The library's own encoder is a stream that compiles the type each time.
 *
 * @param metadata of the file's header
 */
export async function encodeAvro(
  schema: AvroSchema,
  rows: readonly object[],
  metadata: Readonly<Record<string, string>>,
): Promise<Buffer> {
  const library = await avro()
  const type = typeOf(library, schema)
  const header = { ...metadata, 'avro.schema': JSON.stringify(schema), 'avro.codec': 'deflate' }
  const bytesOf = Object.fromEntries(Object.entries(header).map(([name, text]) => [name, Buffer.from(text)]))
  const sync = randomBytes(SYNC_BYTES)
  const parts = [MAGIC, typeOf(library, { type: 'map', values: 'bytes' }).toBuffer(bytesOf), sync]
  if (rows.length > 0) {
    const block = await deflate(Buffer.concat(rows.map(row => type.toBuffer(row))))
    const long = typeOf(library, 'long')
    parts.push(long.toBuffer(rows.length), long.toBuffer(block.length), block, sync)
  }
  return Buffer.concat(parts)
}

/** @throws Error if the bytes are no whole Avro file */
export async function decodeAvro<Row>(bytes: Buffer): Promise<Row[]> {
  const library = await avro()
  const decoder = new library.streams.BlockDecoder({
    parseHook: schema => typeOf(library, schema as AvroSchema),
  })
  const rows: Row[] = []
  let sync: Buffer | undefined
  const done = new Promise<void>((resolve, reject) => {
    decoder.on('end', resolve)
    decoder.on('error', reject)
  })
  decoder.on('metadata', (_type: unknown, _codec: unknown, header: { sync: Buffer }) => {
    sync = header.sync
  })
  decoder.on('data', (row: Row) => rows.push(row))
  decoder.end(bytes)
  await done
  // The decoder takes a file that was cut off for one that ends there. Each block ends with this marker.
  if (sync === undefined || !bytes.subarray(-sync.length).equals(sync))
    throw new Error('the file was cut off')
  return rows
}
