import type { Logger } from '../ports.js'
import type { OpenApiTransform } from '../../types/options.js'
import { nameSchemas } from './names.js'
import { openapi, SWAGGER_2_SCHEMES } from './openapi.js'
import { createIdCheck } from './operation-ids.js'

export interface PublishSettings {
  operationIdPrefix: string
  tags: readonly string[]
  /** The host's; it has the last word. */
  transform: OpenApiTransform | null
  /** JSON schemas of the columns that a user has beside id and username. */
  userColumns: Readonly<Record<string, object>>
  logger: Logger
}

type Input = Parameters<OpenApiTransform>[0]
type Output = ReturnType<OpenApiTransform>

/**
 * A route's `swaggerTransform`. It adds what the schemas refer to to the host's document, because a document without the security scheme
 * would be invalid. The host's own parts of the same name are kept.
 */
export function createPublish ({ operationIdPrefix, tags, transform, userColumns, logger }: PublishSettings): (input: Input) => Output {
  const checkId = createIdCheck(logger)
  return (input) => {
    const { schema, url, openapiObject, swaggerObject } = input
    if (openapiObject !== undefined) addParts(openapiObject, tags)
    if (swaggerObject !== undefined) addDefinitions(swaggerObject, tags)
    const published = { url, schema: nameSchemas(schema, { openapiObject, swaggerObject, prefix: operationIdPrefix, userColumns }) }
    const result = transform === null ? published : transform({ ...input, ...published })
    checkId(openapiObject ?? swaggerObject!, result.schema)
    return result
  }
}

function addParts (document: NonNullable<Input['openapiObject']>, tags: readonly string[]): void {
  const parts = openapi(tags)
  addTags(document, parts.tags)
  document.components.securitySchemes = { ...parts.components.securitySchemes, ...document.components.securitySchemes }
}

function addDefinitions (document: NonNullable<Input['swaggerObject']>, tags: readonly string[]): void {
  addTags(document, openapi(tags).tags)
  document.securityDefinitions = { ...SWAGGER_2_SCHEMES, ...document.securityDefinitions }
}

interface Tagged { tags?: { name: string }[] }

function addTags (document: Tagged, tags: { name: string }[]): void {
  const names = new Set(document.tags?.map(({ name }) => name))
  document.tags = [...document.tags ?? [], ...tags.filter(({ name }) => !names.has(name))]
}
