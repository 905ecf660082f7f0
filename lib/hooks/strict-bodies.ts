import { Ajv } from 'ajv'
import { errorCodes } from 'fastify'
import type { FastifyInstance } from 'fastify'

const BODY_LIMIT = 16 * 1024
/** Options of a route that would replace what the scope sets here. */
const OF_THE_ROUTE = ['validatorCompiler', 'serializerCompiler', 'bodyLimit'] as const

/**
 * Makes a scope strict about bodies, independent of the application's settings: JSON only, at most 16 KiB, no coercion,
 * no dropped fields, no defaults, only the first error (ASVS 5.0 15.3.5; CVE-2020-8192). Replies are sent as they are.
 */
export function strictBodies (scope: FastifyInstance): void {
  const ajv = new Ajv({ coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false, strict: false, formats: { uuid: true, 'date-time': true } })
  scope.setValidatorCompiler(({ schema }) => ajv.compile(schema))
  // The schemas of replies document. An error handler, a hook or another plugin of the host may answer in a shape of its own.
  scope.setSerializerCompiler(() => (payload) => JSON.stringify(payload instanceof Error ? shapeOf(payload) : payload))
  // A hook of the application may have set these on every route: then the handlers would get what the schemas refuse.
  scope.addHook('onRoute', (route) => {
    route.attachValidation = false
    for (const name of OF_THE_ROUTE) delete route[name]
  })
  const parseJson = scope.getDefaultJsonParser('error', 'error')
  scope.removeAllContentTypeParsers()
  // Some clients send a content type even with an empty body.
  scope.addContentTypeParser('application/json', { parseAs: 'string', bodyLimit: BODY_LIMIT }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parseJson(request, body as string, done)
  })
  // Without a byte there is no body, whatever its type: a logout with an empty form must end the session.
  scope.addContentTypeParser('*', { parseAs: 'string', bodyLimit: BODY_LIMIT }, (_request, body, done) => {
    done(body === '' ? null : new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE(), undefined)
  })
}

/** An error that no handler has turned into a reply: the fields, not enumerable, that Fastify's own serializer reads. */
function shapeOf (failure: Error): object {
  const { statusCode, code, error, message } = failure as Error & { statusCode?: number, code?: string, error?: string }
  return { statusCode, code, error, message }
}
