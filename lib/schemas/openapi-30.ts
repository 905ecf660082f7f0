type Json = Record<string, unknown>

/** A schema without `null` types and lists of types, which OpenAPI 3.0 does not have. @fastify/swagger converts only what it adds itself. */
export function toOpenApi30 (schema: Json): Json {
  const { type, anyOf, ...rest } = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, convert(value)]))
  const choices = Array.isArray(type) ? type.map((one) => ({ type: one })) : anyOf as Json[] | undefined
  return { ...rest, ...(choices === undefined ? typed(type) : toChoice(choices)) }
}

function typed (type: unknown): Json {
  return type === undefined ? {} : { type }
}

function toChoice (choices: readonly Json[]): Json {
  const others = choices.filter(({ type }) => type !== 'null')
  const nullable = others.length < choices.length ? { nullable: true } : {}
  return others.length === 1 ? { ...others[0], ...nullable } : { anyOf: others, ...nullable }
}

function convert (value: unknown): unknown {
  if (Array.isArray(value)) return value.map(convert)
  return typeof value === 'object' && value !== null ? toOpenApi30(value as Json) : value
}
