type Json = Record<string, unknown>

/** What a kind of document lacks of JSON Schema 2020-12. */
interface Dialect {
  /** The keyword that stands for the type `null`. */
  nullable: string
  hasAnyOf: boolean
}

const OPENAPI_30: Dialect = { nullable: 'nullable', hasAnyOf: true }
const SWAGGER_2: Dialect = { nullable: 'x-nullable', hasAnyOf: false }

/** A schema without what OpenAPI 3.0 does not have: `null` types, lists of types, several examples. @fastify/swagger converts only what it adds itself. */
export const toOpenApi30 = (schema: Json): Json => convertSchema(schema, OPENAPI_30)

/** The same for Swagger 2.0, which does not have `anyOf` either. */
export const toSwagger2 = (schema: Json): Json => convertSchema(schema, SWAGGER_2)

function convertSchema (schema: Json, dialect: Dialect): Json {
  const { type, anyOf, ...rest } = mapValues(schema, (value, key) => key === 'properties' ? convertProperties(value as Json, dialect) : convert(value, dialect))
  const choices = Array.isArray(type) ? type.map((one) => ({ type: one })) : anyOf as Json[] | undefined
  return { ...withExample(rest), ...(choices === undefined ? typed(type) : toChoice(choices, dialect)) }
}

// A property may have the name of a keyword.
function convertProperties (properties: Json, dialect: Dialect): Json {
  return mapValues(properties, (property) => convert(property, dialect))
}

function mapValues (object: Json, change: (value: unknown, key: string) => unknown): Json {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value, key)]))
}

function convert (value: unknown, dialect: Dialect): unknown {
  if (Array.isArray(value)) return value.map((item) => convert(item, dialect))
  return typeof value === 'object' && value !== null ? convertSchema(value as Json, dialect) : value
}

// Both dialects know one example.
function withExample ({ examples, ...rest }: Json): Json {
  return examples === undefined ? rest : { ...rest, example: (examples as unknown[])[0] }
}

function typed (type: unknown): Json {
  return type === undefined ? {} : { type }
}

function toChoice (choices: readonly Json[], { nullable, hasAnyOf }: Dialect): Json {
  const others = choices.filter(({ type }) => type !== 'null')
  const orNull = others.length < choices.length ? { [nullable]: true } : {}
  if (others.length === 1) return { ...others[0], ...orNull }
  // Without the keyword, a value that may be of several types has none.
  return hasAnyOf ? { anyOf: others, ...orNull } : orNull
}
