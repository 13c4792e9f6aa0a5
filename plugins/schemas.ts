import { createRequire } from 'node:module'
import type { ValidatorCompiler, ValidatorFactory } from '@fastify/ajv-compiler'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'

type CompilersFactory = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>
type Validator = ReturnType<ValidatorCompiler>

const require = createRequire(import.meta.url)

/**
 * Fastify's default validation, but Ajv is loaded and a schema compiled only when a request first needs them. Most
 * processes never get such a request: routes that take events have validators of their own.
 */
const buildValidator: ValidatorFactory = (schemas, options) => {
  let compile: ValidatorCompiler | undefined
  return route => {
    let validate: Validator | undefined
    function validator(value: unknown) {
      if (validate === undefined) {
        const { AjvCompiler }: typeof import('@fastify/ajv-compiler') = require('@fastify/ajv-compiler')
        compile ??= AjvCompiler()(schemas, options)
        validate = compile(route)
      }
      const isValid = validate(value)
      validator.errors = validate.errors ?? null
      return isValid
    }
    validator.errors = null as Validator['errors']
    // Fastify uses the function and its `errors` only, not the other members of an Ajv validator.
    return validator as Validator
  }
}

/**
 * Writes an answer as JSON. Response schemas only describe answers; they remove nothing. Of an error, the four members
 * of every refusal: `JSON.stringify` would not see them all.
 */
function serialize(value: unknown): string {
  if (!(value instanceof Error)) return JSON.stringify(value)
  const { statusCode, code, error, message } = value as Error & Record<string, unknown>
  return JSON.stringify({ statusCode, code, error, message })
}

/** Gives Fastify the functions of its schemas without loading a library at the start. */
export const compilersFactory: CompilersFactory = { buildValidator, buildSerializer: () => () => serialize }

/** Does the same for the routes below a plugin in another server, whose own routes keep their functions. */
export function setCompilers(app: FastifyInstance): void {
  app.setValidatorCompiler(buildValidator({}, { customOptions: {} }))
  app.setSerializerCompiler(() => serialize)
}
