import { Ajv } from 'ajv'
import type { FastifyInstance } from 'fastify'

const BODY_LIMIT = 16 * 1024

/**
 * Makes a scope strict, independent of the application's settings: JSON only, at most 16 KiB, no coercion,
 * no dropped fields, no defaults, only the first error (ASVS 5.0 15.3.5; CVE-2020-8192).
 */
export function strictBodies (scope: FastifyInstance): void {
  const ajv = new Ajv({ coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false, strict: false, formats: { uuid: true, 'date-time': true } })
  scope.setValidatorCompiler(({ schema }) => ajv.compile(schema))
  const parseJson = scope.getDefaultJsonParser('error', 'error')
  scope.removeAllContentTypeParsers()
  // Some clients send a content type even with an empty body.
  scope.addContentTypeParser('application/json', { parseAs: 'string', bodyLimit: BODY_LIMIT }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parseJson(request, body as string, done)
  })
}
