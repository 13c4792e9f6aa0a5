// Runs SQL with chdb, ClickHouse in a process, and prints the answer as JSON. It reads files below its directory only.
import { query } from 'chdb'

process.chdir('/')
process.stdout.write(query(process.argv[2], 'JSON'))
