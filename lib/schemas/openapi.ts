import type { OpenApiParts } from '../../types/token-auth.js'

/** What the routes' schemas refer to. */
export function openapi (): OpenApiParts {
  return {
    tags: [{ name: 'auth', description: 'Login, logout, sessions and the password' }],
    components: {
      securitySchemes: {
        bearerToken: {
          type: 'http',
          scheme: 'bearer',
          description: 'The token that the login gave: `Authorization: Bearer <token>`'
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
 * A route's `swaggerTransform`: puts those parts into the host's document, which could not be
 * made without the security scheme. What the host has under the same names stays.
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
