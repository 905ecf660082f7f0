type Json = Record<string, unknown>

/** Keywords whose values are not schemas. */
const VALUES = new Set(['example', 'default', 'enum', 'required'])

/** A schema with the keywords that Swagger 2.0 has: no `null` types, no lists of types, no `anyOf`, one example. */
export function toSwagger2 (schema: Json): Json {
  const { type, anyOf, examples, ...rest } = schema
  const choices = Array.isArray(type) ? type.map((one) => ({ type: one })) : anyOf as Json[] | undefined
  return {
    ...mapValues(rest, (value, key) => VALUES.has(key) ? value : key === 'properties' ? mapValues(value as Json, convert) : convert(value)),
    ...(choices === undefined ? type === undefined ? {} : { type: convert(type) } : toChoice(choices)),
    ...(Array.isArray(examples) ? { example: examples[0] } : {})
  }
}

function mapValues (object: Json, change: (value: unknown, key: string) => unknown): Json {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value, key)]))
}

// What may be of several types has none.
function toChoice (choices: readonly Json[]): Json {
  const others = choices.filter(({ type }) => type !== 'null')
  const nullable = others.length < choices.length ? { 'x-nullable': true } : {}
  return { ...(others.length === 1 ? toSwagger2(others[0]!) : {}), ...nullable }
}

function convert (value: unknown): unknown {
  return typeof value === 'object' && value !== null ? toSwagger2(value as Json) : value
}
