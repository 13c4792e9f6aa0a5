/** Writes the settings into .env.example and docs/settings.md, as src/config/config.ts and src/config/aws-settings.ts have them. */
import { readFileSync, writeFileSync } from 'node:fs'
import { envExample, withTables } from './documented-settings.ts'

const document = new URL('../docs/settings.md', import.meta.url)
writeFileSync(new URL('../.env.example', import.meta.url), envExample())
writeFileSync(document, withTables(readFileSync(document, 'utf8')))
