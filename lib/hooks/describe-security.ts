import type { FastifySchema, RouteOptions } from 'fastify'
import { NEEDS_TOKEN } from '../schemas/openapi.js'
import { variantOf } from './authenticate.js'

const GUARDS = ['onRequest', 'preValidation', 'preHandler'] as const

/**
 * Adds the security scheme to the schema of a route that an `authenticate` protects, unless the schema names one. A route without a schema is
 * left alone: hooks that prepare schemas, such as that of fastify-zod-openapi, have not seen it.
 */
export function describeSecurity (route: RouteOptions): void {
  const { security, ...schema } = (route.schema ?? { security: [] }) as FastifySchema & { security?: unknown }
  if (security !== undefined) return
  const variants = GUARDS.flatMap((name) => [route[name]].flat().map(variantOf)).filter((variant) => variant !== undefined)
  if (variants.length === 0) return
  const isOptional = variants.every(({ optional = false }) => optional)
  route.schema = { ...schema, security: isOptional ? [{}, ...NEEDS_TOKEN] : NEEDS_TOKEN } as FastifySchema
}
