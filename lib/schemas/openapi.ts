import type { OpenApiParts } from '../../types/token-auth.js'

/** The parts of an OpenAPI document that the routes' schemas refer to. */
export function openapi (): OpenApiParts {
  return {
    tags: [{ name: 'auth', description: 'Login, logout, sessions and the password' }],
    components: {
      securitySchemes: {
        bearerToken: {
          type: 'http',
          scheme: 'bearer',
          description: 'The token from the login: `Authorization: Bearer <token>`'
        }
      }
    }
  }
}

interface Tagged { tags?: { name: string }[] }

interface TransformInput {
  schema: object
  url: string
  /** The document in OpenAPI 3 mode. */
  openapiObject?: Tagged & { components: { securitySchemes?: object } }
  /** The document in Swagger 2.0 mode. */
  swaggerObject?: Tagged & { securityDefinitions?: object }
}

// Swagger 2.0 has no scheme for bearer tokens.
const SWAGGER_2_SCHEMES = { bearerToken: { type: 'apiKey', in: 'header', name: 'Authorization', description: '`Bearer` and the token from the login' } }

/**
 * A route's `swaggerTransform`. It adds these parts to the host's document, because a document without the security scheme would be
 * invalid. The host's own parts of the same name are kept.
 */
export function publishParts ({ schema, url, openapiObject, swaggerObject }: TransformInput): { schema: object, url: string } {
  const { tags, components } = openapi()
  if (openapiObject !== undefined) {
    addTags(openapiObject, tags)
    openapiObject.components.securitySchemes = { ...components.securitySchemes, ...openapiObject.components.securitySchemes }
  }
  if (swaggerObject !== undefined) {
    addTags(swaggerObject, tags)
    swaggerObject.securityDefinitions = { ...SWAGGER_2_SCHEMES, ...swaggerObject.securityDefinitions }
  }
  return { schema, url }
}

function addTags (document: Tagged, tags: { name: string }[]): void {
  const names = new Set(document.tags?.map(({ name }) => name))
  document.tags = [...document.tags ?? [], ...tags.filter(({ name }) => !names.has(name))]
}
