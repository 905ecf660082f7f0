import Fastify from 'fastify'
import authPlugin, { authenticate, errors, haveIBeenPwned, requireUser } from 'fastify-token-auth'
import type { AuthPluginOptions, TokenGrant } from 'fastify-token-auth'
import { exploreInterleavings } from 'fastify-token-auth/testing'

const url: string | undefined = process.env['REDIS_URL']

// Every option whose default is null accepts null.
const options: AuthPluginOptions = {
  database: { connectionString: 'postgres://localhost/app' },
  redis: url === undefined ? null : { url },
  token: { idleTtl: null, schema: null },
  cache: { near: null },
  users: { schema: null, activeWhen: null, canonicalize: null, idType: null, columns: { active: null, lastLogin: null } },
  lookup: { concurrency: null },
  rateLimit: { localMax: null },
  accountLimit: { localMax: null },
  captcha: null,
  hasher: null,
  hashing: { concurrency: null },
  password: { breached: url === undefined ? null : haveIBeenPwned(), check: null },
  hooks: { onLogin: null, onLoginFailed: null, onLogout: null, onPasswordChanged: null, onPasswordChangeFailed: null, onTokenRefused: null, onRevoked: null, onCacheError: null }
}

const app = Fastify()
await app.register(authPlugin, options)
app.addHook('preHandler', app.authenticate.with({ scopes: 'any' }))
app.get('/decorated', { onRequest: app.authenticate }, async ({ user, auth }) => ({ name: user?.username, scopes: auth?.scopes }))
app.get('/imported', { onRequest: [authenticate.with({ scopes: ['a'] })] }, async (request) => {
  const name: string = requireUser(request).username
  return { name }
})
const grant: TokenGrant = await app.tokenAuth.issueToken(1)
await exploreInterleavings

try {
  await app.tokenAuth.revokeToken(grant.token)
} catch (error) {
  if (error instanceof errors.REVOCATION_PENDING) {
    const { code, statusCode }: { code: string, statusCode: number } = error
    app.log.warn({ code, statusCode })
  }
}
