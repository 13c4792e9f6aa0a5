/** Stands for `@duckdb/node-bindings` in the executable: its native part is a file that was unpacked. */
const { loadEngineAddon } = require('../src/query/engine-addon.ts')

module.exports = loadEngineAddon()
