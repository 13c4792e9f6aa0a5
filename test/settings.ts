/** Writes the settings into .env.example and the README, as src/config/config.ts and src/config/aws-settings.ts have them. */
import { readFileSync, writeFileSync } from 'node:fs'
import { envExample, readmeWithTables } from './documented-settings.ts'

const readme = new URL('../README.md', import.meta.url)
writeFileSync(new URL('../.env.example', import.meta.url), envExample())
writeFileSync(readme, readmeWithTables(readFileSync(readme, 'utf8')))
