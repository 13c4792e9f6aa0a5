/**
 * The script of the executable. Starts the program with the code that V8 compiled when the executable was built. Node's
 * own option for that, `useCodeCache`, keeps only the code of functions that run while a script is loaded.
 */
const { dirname } = require('node:path')
const { getRawAsset } = require('node:sea')
const { Script } = require('node:vm')

const source = Buffer.from(getRawAsset('program.cjs')).latin1Slice()
const cachedData = Buffer.from(getRawAsset('program.cache'))
// If V8 refuses the cache, because its flags differ, it compiles the source.
const program = new Script(source, { filename: 'frequency.cjs', cachedData })
program.runInThisContext()(require, module, exports, process.execPath, dirname(process.execPath))
