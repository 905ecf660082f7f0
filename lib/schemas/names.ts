import { toOpenApi30, toSwagger2 } from './older-dialects.js'

type Json = Record<string, unknown>

export interface Documents {
  openapiObject?: { openapi?: string, components: { schemas?: object } } | undefined
  swaggerObject?: { definitions?: object } | undefined
}

interface Place {
  schemas: Json
  /** `#/components/schemas/` */
  path: string
  convert (schema: Json): Json
  /** For the parts that have no name. @fastify/swagger converts those for OpenAPI 3.0. */
  convertInline (schema: Json): Json
}

const same = (schema: Json) => schema

/** The parts of a route's schema that are schemas. */
const REQUEST = new Set(['body', 'querystring', 'params', 'headers'])

interface NameSettings extends Documents {
  /** Begins every name. */
  prefix: string
  /** More properties of a user. */
  userColumns: Readonly<Record<string, object>>
}

/**
 * The schema with references in place of the parts that have a title, which are added to the document under that name. A code generator then
 * makes one type of each, and not one for every route.
 */
export function nameSchemas (schema: object, { prefix, userColumns, ...documents }: NameSettings): object {
  const place = placeOf(documents)
  function refer ({ title, ...described }: Json): Json {
    const name = `${prefix}${String(title)}`
    place.schemas[name] ??= place.convert(title === 'TokenAuthUser' ? withColumns(described, userColumns) : described)
    return { $ref: place.path + name }
  }

  function walk (part: unknown): unknown {
    if (Array.isArray(part)) return part.map(walk)
    if (typeof part !== 'object' || part === null) return part
    const walked = walkFields(part)
    return isNamed(walked) ? refer(walked) : walked
  }

  function walkFields (part: object): Json {
    return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, walk(value)]))
  }

  // The description and the headers of a response stay with it.
  function walkResponse (reply: Json): Json {
    const { description, headers, ...walked } = walkFields(reply)
    const content = isNamed(walked) ? refer(walked) : place.convertInline(walked)
    return { ...content, description, ...(headers === undefined ? {} : { headers }) }
  }

  function walkRequest (parts: object): Json {
    return Object.fromEntries(Object.entries(walkFields(parts)).map(([key, part]) => [key, REQUEST.has(key) ? place.convertInline(part as Json) : part]))
  }

  const { response, ...rest } = schema as { response: Record<string, Json> }
  return { ...walkRequest(rest), response: Object.fromEntries(Object.entries(response).map(([status, reply]) => [status, walkResponse(reply)])) }
}

function withColumns ({ properties, required, ...user }: Json, columns: NameSettings['userColumns']): Json {
  return { ...user, properties: { ...properties as Json, ...columns }, required: [...required as string[], ...Object.keys(columns)] }
}

// A map of properties may have one with this name.
function isNamed ({ title }: Json): boolean {
  return typeof title === 'string'
}

function placeOf ({ openapiObject, swaggerObject = {} }: Documents): Place {
  if (openapiObject === undefined) return { schemas: schemasOf(swaggerObject, 'definitions'), path: '#/definitions/', convert: toSwagger2, convertInline: toSwagger2 }
  const is30 = openapiObject.openapi?.startsWith('3.0') === true
  return { schemas: schemasOf(openapiObject.components, 'schemas'), path: '#/components/schemas/', convert: is30 ? toOpenApi30 : same, convertInline: same }
}

function schemasOf (holder: object, name: string): Json {
  const group = holder as Record<string, Json>
  group[name] ??= {}
  return group[name]
}
