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

interface TransformInput {
  schema: object
  url: string
  openapiObject?: { tags?: { name: string }[], components: { securitySchemes?: object } }
}

/**
 * A route's `swaggerTransform`. It adds these parts to the host's document, because a document without the security scheme would be
 * invalid. The host's own parts of the same name are kept.
 */
export function publishParts ({ schema, url, openapiObject }: TransformInput): { schema: object, url: string } {
  if (openapiObject !== undefined) {
    const { tags, components } = openapi()
    const names = new Set(openapiObject.tags?.map(({ name }) => name))
    openapiObject.tags = [...openapiObject.tags ?? [], ...tags.filter(({ name }) => !names.has(name))]
    const document = openapiObject.components
    document.securitySchemes = { ...components.securitySchemes, ...document.securitySchemes }
  }
  return { schema, url }
}
