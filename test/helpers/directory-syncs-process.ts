/** Uses a directory store. Makes a directory before each step, so that a trace of system calls shows where a step begins. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { openStore, openStoreReader } from '../../src/store/open-store.ts'
import { configOf } from './helper.ts'

const [root = '', marks = ''] = process.argv.slice(2)
const config = configOf({ ARCHIVE_URL: root })
const begin = (step: string) => mkdirSync(join(marks, `step-${step}`))
const body = Buffer.from('body')

begin('open')
const store = await openStore(config)
begin('create-in-new-directories')
await store.create('p/a/1', body)
begin('create')
await store.create('p/a/2', body)
begin('create-existing')
await store.create('p/a/2', body)
begin('create-in-sibling')
await store.create('p/b/1', body)
begin('replace')
await store.replace('p/a/1', body)
begin('stage')
await store.put('p/a/3', Readable.from([body]))
begin('move')
await store.move('p/a/3', 'p/b/3')
begin('read')
await store.read('p/a/1')
begin('read-missing')
await store.read('p/a/none')
begin('remove')
await store.remove(['p/a/1', 'p/a/2', 'p/b/1', 'p/b/none'])
begin('open-again')
const again = await openStore(config)
begin('create-in-directory-of-another')
await again.create('p/a/4', body)
begin('reader')
const reader = await openStoreReader(config)
await reader.read('p/a/4')
begin('end')
