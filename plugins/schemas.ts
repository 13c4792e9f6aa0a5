import { createRequire } from 'node:module'
import type { ValidatorCompiler, ValidatorFactory } from '@fastify/ajv-compiler'
import type { FastifyServerOptions } from 'fastify'

type CompilersFactory = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>
type Validator = ReturnType<ValidatorCompiler>

const require = createRequire(import.meta.url)

/**
 * Validates as Fastify does of itself. But what that takes is loaded, and a schema compiled, for the first
 * request that has something to validate, which most processes never get: routes that take events have
 * validators of their own.
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
    // Fastify calls it, and looks at its errors; the rest of what Ajv makes is not for Fastify.
    return validator as Validator
  }
}

/**
 * Answers are written as they are: their schemas describe them, and take nothing away. Of an error only what
 * every refusal shows, which Fastify hands over in members that JSON.stringify does not see.
 */
function serialize(value: unknown): string {
  if (!(value instanceof Error)) return JSON.stringify(value)
  const { statusCode, code, error, message } = value as Error & Record<string, unknown>
  return JSON.stringify({ statusCode, code, error, message })
}

/** How schemas become functions; all that it takes at a start is this. */
export const compilersFactory: CompilersFactory = { buildValidator, buildSerializer: () => () => serialize }
