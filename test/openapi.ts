/** Writes docs/openapi.json, as `/documentation/json` says it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createApp } from '../plugins/app.ts'
import { configOf, silent } from './helpers/helper.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'frequency-openapi-'))
try {
  const app = await createApp(configOf({ DATA_DIR: dataDir }), silent)
  const reference = (await app.inject('/documentation/json')).json()
  await app.close()
  writeFileSync(new URL('../docs/openapi.json', import.meta.url), `${JSON.stringify(reference, null, 2)}\n`)
} finally {
  rmSync(dataDir, { recursive: true, force: true })
}
