import { Ajv2020 } from 'ajv/dist/2020.js'
import type { ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'

interface Reply { content?: Record<string, { schema: object }>, headers?: Record<string, unknown> }
interface Document { components: object, paths: Record<string, Record<string, { tags?: string[], responses: Record<string, Reply> }>> }

const ajv = new Ajv2020({ strict: false })
formats.default(ajv)

/** Headers that a status must have, and that the document must name. */
const HEADERS: Record<number, string> = { 401: 'WWW-Authenticate', 429: 'Retry-After', 503: 'Retry-After' }

/** Throws if a reply of a published route does not match the app's OpenAPI document. */
export function checkPublished (app: FastifyInstance, method: string, url: string, reply: LightMyRequestResponse): void {
  const operation = findOperation(app, method, url)
  if (operation?.tags?.includes('auth') !== true) return
  const published = operation.responses[reply.statusCode]
  if (published === undefined) throw new Error(`${method} ${url} answered ${reply.statusCode}, which is not published: ${reply.body}`)
  if (reply.headers['cache-control'] !== 'no-store') throw new Error(`${method} ${url} may be stored`)
  checkHeader(published, reply)
  const schema = published.content?.['application/json']?.schema
  if (schema === undefined) return checkEmpty(reply)
  const validate = validatorOf(schema, app)
  if (!validate(reply.json())) throw new Error(`${method} ${url} ${reply.statusCode} is not as published: ${ajv.errorsText(validate.errors)}\n${reply.body}`)
}

const validators = new WeakMap<object, ValidateFunction>()

/** The schema's validator. Its references are to the components of the document. */
function validatorOf (schema: object, app: FastifyInstance): ValidateFunction {
  const { components } = app.swagger() as unknown as Document
  const validate = validators.get(schema) ?? ajv.compile({ ...schema, components })
  validators.set(schema, validate)
  return validate
}

function findOperation (app: FastifyInstance, method: string, url: string) {
  const { paths } = app.swagger() as unknown as Document
  const path = url.split('?')[0]!.replace(/\/sessions\/[^/]+$/, '/sessions/{id}')
  return paths[path]?.[method.toLowerCase()]
}

function checkHeader ({ headers = {} }: Reply, reply: LightMyRequestResponse): void {
  const name = HEADERS[reply.statusCode]
  if (name === undefined) return
  if (!(name in headers)) throw new Error(`${reply.statusCode} is published without ${name}`)
  const value = String(reply.headers[name.toLowerCase()])
  const pattern = name === 'Retry-After' ? /^[1-9]\d*$/ : /^Bearer realm="/
  if (!pattern.test(value)) throw new Error(`${reply.statusCode} came with ${name}: ${value}`)
}

function checkEmpty (reply: LightMyRequestResponse): void {
  if (reply.body !== '') throw new Error(`${reply.statusCode} is published without a body, got ${reply.body}`)
}
