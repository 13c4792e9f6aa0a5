// Runs SQL with chdb, ClickHouse in a process, and prints the answer as JSON. It reads files below its directory only.
import { fromReaders } from './installed.mjs'

const { query } = fromReaders('chdb')
process.chdir('/')
process.stdout.write(query(process.argv[2], 'JSON'))
