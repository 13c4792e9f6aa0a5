/** Writes and reads Avro container files: the manifests and manifest lists of Iceberg. */

import { buffer } from 'node:stream/consumers'

/** A schema as Avro writes it in JSON, with the ids of Iceberg. */
export type AvroSchema = string | readonly AvroSchema[] | { readonly [name: string]: unknown }

/** Only what writes or reads Iceberg metadata loads it. */
async function avro() {
  return (await import('avsc')).default
}

/** @param metadata of the file's header */
export async function encodeAvro(
  schema: AvroSchema,
  rows: readonly object[],
  metadata: Readonly<Record<string, string>>,
): Promise<Buffer> {
  const { streams } = await avro()
  const options = {
    codec: 'deflate',
    // A file without a row has a header too.
    writeHeader: 'always' as const,
    metadata: Object.fromEntries(Object.entries(metadata).map(([name, text]) => [name, Buffer.from(text)])),
  }
  const encoder = new streams.BlockEncoder(schema as never, options)
  const done = buffer(encoder)
  encoder.on('typeError', (error: Error) => encoder.destroy(error))
  for (const row of rows) encoder.write(row)
  encoder.end()
  return done
}

/** @throws Error if the bytes are no whole Avro file */
export async function decodeAvro<Row>(bytes: Buffer): Promise<Row[]> {
  const { streams } = await avro()
  const decoder = new streams.BlockDecoder()
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
