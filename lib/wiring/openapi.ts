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
