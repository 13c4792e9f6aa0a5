/**
 * JSON schemas for kubeconform: of Kubernetes' own objects from its OpenAPI document, and of others from their
 * CustomResourceDefinitions. Both come from Go modules. Members that no schema names are refused.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { KUBERNETES } from './files.ts'
import { goModule } from './tools.ts'

/** Module, version and path of each CustomResourceDefinition. */
const CRDS: readonly (readonly [string, string])[] = [
  [
    'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    'example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml',
  ],
  [
    'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    'example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml',
  ],
  ['github.com/kedacore/keda/v2@v2.21.0', 'config/crd/bases/keda.sh_scaledobjects.yaml'],
  ['github.com/kedacore/keda/v2@v2.21.0', 'config/crd/bases/keda.sh_triggerauthentications.yaml'],
  ['sigs.k8s.io/gateway-api@v1.6.3', 'config/crd/standard/gateway.networking.k8s.io_httproutes.yaml'],
]

type Schema = Record<string, unknown>

interface Crd {
  spec: {
    group: string
    names: { kind: string }
    versions: { name: string; schema: { openAPIV3Schema: Schema } }[]
  }
}

/** Paths of the CustomResourceDefinitions of what the chart can render. */
export async function crdPaths(): Promise<string[]> {
  const paths: string[] = []
  for (const [module, path] of CRDS) paths.push(join(await goModule(module), path))
  return paths
}

/** Writes a schema for each kind into a directory, as kubeconform looks for them. */
export async function writeSchemas(directory: string): Promise<void> {
  const kubernetes = await goModule(`k8s.io/kubernetes@v${KUBERNETES}`)
  const { definitions } = JSON.parse(
    readFileSync(join(kubernetes, 'api/openapi-spec/swagger.json'), 'utf8'),
  ) as {
    definitions: Record<string, Schema>
  }
  const strict = strictly(definitions) as Record<string, Schema>
  for (const [name, definition] of Object.entries(definitions)) {
    const kinds = (definition['x-kubernetes-group-version-kind'] ?? []) as {
      group: string
      version: string
      kind: string
    }[]
    for (const { group, version, kind } of kinds)
      if (kinds.length === 1)
        writeSchema(directory, group, version, kind, { $ref: `#/definitions/${name}`, definitions: strict })
  }
  for (const path of await crdPaths()) {
    const { group, names, versions } = (parse(readFileSync(path, 'utf8')) as Crd).spec
    for (const { name, schema } of versions)
      writeSchema(
        directory,
        group,
        name,
        names.kind,
        withTypeMeta(strictly(schema.openAPIV3Schema) as Schema),
      )
  }
}

function writeSchema(directory: string, group: string, version: string, kind: string, schema: Schema): void {
  const suffix = [group.split('.')[0], version].filter(part => part !== '').join('-')
  writeFileSync(join(directory, `${kind}-${suffix}.json`.toLowerCase()), JSON.stringify(schema))
}

function strictly(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strictly)
  if (typeof schema !== 'object' || schema === null) return schema
  const given = schema as Schema
  if (given['x-kubernetes-int-or-string'] === true || given.format === 'int-or-string')
    return { type: ['string', 'integer'] }
  const isClosed =
    isSchemaMap(given.properties) &&
    given.additionalProperties === undefined &&
    given['x-kubernetes-preserve-unknown-fields'] !== true
  const inner = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, strictly(value)]))
  return isClosed ? { ...inner, additionalProperties: false } : inner
}

/** `properties` may also be the name of a member of an object. */
function isSchemaMap(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !('type' in value && typeof value.type === 'string')
}

/** A CustomResourceDefinition leaves the inside of `metadata` to Kubernetes. */
function withTypeMeta(schema: Schema): Schema {
  return { ...schema, properties: { ...(schema.properties as Schema), metadata: { type: 'object' } } }
}
