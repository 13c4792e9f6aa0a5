/** Bills of materials: of the package, by `npm sbom`, and of the executable, by what was bundled. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const NODE_MODULES = 'node_modules/'
/** `process.versions` also has numbers that are no versions of a component: of interfaces, and of data. */
const NOT_COMPONENTS = new Set(['node', 'modules', 'napi', 'cldr', 'tz', 'unicode'])

export interface Component {
  readonly 'bom-ref': string
  readonly type: string
  readonly name: string
  readonly version: string
  readonly purl: string
  readonly [field: string]: unknown
}

export interface Bom {
  readonly metadata: { readonly component: Component; readonly [field: string]: unknown }
  readonly components: readonly Component[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
  readonly [field: string]: unknown
}

export interface Manifest {
  readonly name: string
  readonly version: string
}

interface Spdx {
  readonly documentDescribes: readonly string[]
  readonly packages: readonly {
    readonly SPDXID: string
    readonly name: string
    readonly versionInfo: string
  }[]
  readonly relationships: readonly { readonly spdxElementId: string; readonly relatedSpdxElement: string }[]
  readonly [field: string]: unknown
}

/** @returns CycloneDX JSON of the production dependencies, as the lock file names them for all platforms */
export function packageBom(manifest: Manifest): Bom {
  const bom: Bom = JSON.parse(npmSbom('cyclonedx'))
  const production = productionRefs()
  // npm names the component by the directory of the checkout.
  const component = { ...bom.metadata.component, name: manifest.name }
  return {
    ...bom,
    metadata: { ...bom.metadata, component },
    components: bom.components.filter(each => production.has(each['bom-ref'])),
    dependencies: within(bom.dependencies, new Set([component['bom-ref'], ...production])),
  }
}

/** @returns the same in SPDX JSON */
export function packageSpdx(manifest: Manifest): Spdx {
  const spdx: Spdx = JSON.parse(npmSbom('spdx'))
  const production = productionRefs()
  const isRoot = ({ SPDXID }: { SPDXID: string }) => spdx.documentDescribes.includes(SPDXID)
  const packages = spdx.packages
    .map(each => (isRoot(each) ? { ...each, name: manifest.name } : each))
    .filter(each => isRoot(each) || production.has(`${each.name}@${each.versionInfo}`))
  const refs = new Set(['SPDXRef-DOCUMENT', ...packages.map(({ SPDXID }) => SPDXID)])
  const relationships = spdx.relationships.filter(
    ({ spdxElementId, relatedSpdxElement }) => refs.has(spdxElementId) && refs.has(relatedSpdxElement),
  )
  return { ...spdx, packages, relationships }
}

/**
 * `name@version` of each package that is not for development only. `npm sbom --omit=dev` of npm 11.19 also leaves out
 * packages that are needed both in production and by a package of development.
 */
function productionRefs(): ReadonlySet<string> {
  const lock: { packages: Record<string, { version: string; dev?: true }> } = JSON.parse(
    readFileSync(join(ROOT, 'package-lock.json'), 'utf8'),
  )
  const entries = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && dev !== true)
  return new Set(entries.map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`))
}

function within(dependencies: Bom['dependencies'], refs: ReadonlySet<string>): Bom['dependencies'] {
  return dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(each => refs.has(each)) }))
}

export interface ExecutableParts {
  readonly manifest: Manifest
  /** The file's name. */
  readonly file: string
  /** Directories of the packages in it, relative to the root: those that were bundled, and no others. */
  readonly packages: readonly string[]
  readonly hasEngine: boolean
}

/** @returns CycloneDX JSON of a single executable: its packages, Node and what is in Node, DuckDB */
export function executableBom({ manifest, file, packages, hasEngine }: ExecutableParts): Bom {
  const bom = packageBom(manifest)
  const known = new Map(bom.components.map(component => [component['bom-ref'], component]))
  const contained = [...packages, ...(hasEngine ? enginePackages() : [])].map(directory => {
    const { name, version } = manifestIn(directory)
    return known.get(`${name}@${version}`) ?? npmComponent(name, version)
  })
  const all = [...contained, ...nodeComponents(), ...generic(packages, hasEngine)]
  // Two directories may have the same version of a package.
  const components = [...new Map(all.map(component => [component['bom-ref'], component])).values()]
  const root = { ...bom.metadata.component, type: 'application', name: file }
  const refs = new Set(components.map(component => component['bom-ref']))
  return {
    ...bom,
    metadata: { ...bom.metadata, component: root },
    components,
    dependencies: [{ ref: root['bom-ref'], dependsOn: [...refs] }, ...within(bom.dependencies, refs)],
  }
}

function npmSbom(format: string): string {
  const args = ['sbom', `--sbom-format=${format}`, '--package-lock-only']
  const { NODE_OPTIONS, ...env } = process.env
  return execFileSync('npm', args, { cwd: ROOT, env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
}

/** The native part of DuckDB for this platform. */
function enginePackages(): string[] {
  const scope = join(NODE_MODULES, '@duckdb')
  return readdirSync(join(ROOT, scope))
    .filter(name => name.startsWith('node-bindings-'))
    .map(name => `${scope}/${name}`)
}

function manifestIn(directory: string): Manifest & { readonly devDependencies?: Record<string, string> } {
  return JSON.parse(readFileSync(join(ROOT, directory, 'package.json'), 'utf8'))
}

function nodeComponents(): Component[] {
  const { versions } = process
  const parts = Object.entries(versions).filter(([name]) => !NOT_COMPONENTS.has(name))
  return [
    genericComponent('node', versions.node, `cpe:2.3:a:nodejs:node.js:${versions.node}:*:*:*:*:*:*:*`),
    ...parts.map(([name, version]) => genericComponent(name, version ?? '')),
  ]
}

/** Code that packages contain without a dependency on it. */
function generic(packages: readonly string[], hasEngine: boolean): Component[] {
  const components: Component[] = []
  const pages = packages.find(directory => directory.endsWith('/@fastify/swagger-ui'))
  const pagesVersion = pages && manifestIn(pages).devDependencies?.['swagger-ui-dist']
  if (pagesVersion !== undefined) components.push(npmComponent('swagger-ui-dist', pagesVersion))
  if (hasEngine) {
    const { version } = manifestIn(`${NODE_MODULES}@duckdb/node-bindings`)
    components.push(genericComponent('duckdb', version.replace(/-r\.\d+$/, '')))
  }
  return components
}

function npmComponent(name: string, version: string): Component {
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
  return { 'bom-ref': `${name}@${version}`, type: 'library', name, version, purl }
}

function genericComponent(name: string, version: string, cpe?: string): Component {
  const purl = `pkg:generic/${name}@${version}`
  return { 'bom-ref': purl, type: 'library', name, version, purl, ...(cpe !== undefined && { cpe }) }
}
