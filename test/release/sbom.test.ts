/** The bills of materials name what is delivered, and nothing else. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bundleProgram } from '../../binary/bundle.ts'
import { packagesOf } from '../../binary/licenses.ts'
import { type Bom, executableBom, packageBom, packageSpdx } from '../../release/sbom.ts'
import { ROOT } from '../services/program.ts'

/** `debug`, which packages of production need, loads this if it is installed. Here a package of development has it. */
const OF_DEBUG = ['has-flag', 'supports-color']

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

function namesIn({ components }: Bom): string[] {
  return components.map(({ name }) => name)
}

t.test('of the package: all dependencies, and none of development', async t => {
  const bom = packageBom(manifest)
  t.match(bom.metadata.component, { name: manifest.name, version: manifest.version })
  const names = new Set(namesIn(bom))
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))
    t.ok(names.has(name), name)
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'))
  // yaml is a dependency of @fastify/swagger too.
  const development = Object.keys(manifest.devDependencies).filter(
    name => packages[`node_modules/${name}`].dev === true,
  )
  t.ok(development.includes('typescript'))
  for (const name of development) t.notOk(names.has(name), `not ${name}`)
  const [root, ...spdx] = packageSpdx(manifest).packages
  t.equal(root?.name, manifest.name)
  t.same(spdx.map(({ name }) => name).sort(), namesIn(bom).sort(), 'the same in SPDX')
})

t.test('of the executable: what is bundled, Node, DuckDB, and no package of development', async t => {
  const { packages } = await bundleProgram(true)
  const contained = packagesOf(packages)
  const bom = executableBom({ manifest, file: 'frequency-x', packages: contained, hasEngine: true })
  const names = namesIn(bom)
  t.equal(new Set(bom.components.map(each => each['bom-ref'])).size, names.length, 'each once')
  for (const directory of contained)
    t.ok(names.includes(directory.replace(/^.*node_modules\//, '')), directory)
  t.match(bom.metadata.component, { name: 'frequency-x', type: 'application' })
  const { node, openssl = '' } = process.versions
  for (const [name, version] of [
    ['node', node],
    ['openssl', openssl],
    ['duckdb', /^\d+\.\d+\.\d+$/],
    [`@duckdb/node-bindings-${process.platform}-${process.arch}`, /^\d/],
    ['swagger-ui-dist', /^\d/],
  ] as const)
    t.match(bom.components.find(each => each.name === name)?.version, version, name)
  // A package of development would have got into the bundle by an import.
  const production = new Set(namesIn(packageBom(manifest)))
  const others = bom.components.filter(
    ({ name, purl }) => purl.startsWith('pkg:npm/') && !production.has(name) && name !== 'swagger-ui-dist',
  )
  t.same(others.map(({ name }) => name).sort(), OF_DEBUG)
})
