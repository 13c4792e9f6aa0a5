/** The types of settings. */
import { Type } from '@sinclair/typebox'

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

export const milliseconds = (options: {
  default: number
  minimum?: number
  maximum?: number
  description: string
}) => Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1, unit: 'ms', ...options })
export const bytes = (options: {
  default: number
  minimum?: number
  maximum?: number
  description: string
}) => Type.Integer({ minimum: 1, unit: 'bytes', ...options })
export const oneOf = <const T extends string>(
  values: readonly T[],
  options: { default: T; description: string },
) =>
  Type.Union(
    values.map(value => Type.Literal(value)),
    options,
  )
export const optionalText = (options: { description: string; secret?: boolean; fallback: string }) =>
  Type.Optional(Type.String({ minLength: 1, ...options }))
