import type { OpenApiParts } from '../../types/token-auth.js'

/** The parts of an OpenAPI document that the routes' schemas refer to. */
export function openapi (tags: readonly string[] = ['auth']): OpenApiParts {
  return {
    tags: tags.map((name) => ({ name, description: 'Login, logout, sessions and the password' })),
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

/** The same for Swagger 2.0, which has no scheme for bearer tokens. */
export const SWAGGER_2_SCHEMES = { bearerToken: { type: 'apiKey', in: 'header', name: 'Authorization', description: '`Bearer` and the token from the login' } }

/** The `security` of an operation that needs a token. */
export const NEEDS_TOKEN = [{ bearerToken: [] as string[] }]
