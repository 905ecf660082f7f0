import Fastify from 'fastify'
import { expectError, expectType } from 'tsd'
import authPlugin from 'fastify-token-auth'
import type { AuthenticatedUser, BaseUser, FastifyTokenAuth } from 'fastify-token-auth'

declare module 'fastify-token-auth' {
  namespace FastifyTokenAuth {
    interface User {
      id: number
      email: string
      roles: string[]
    }
  }
}

const app = Fastify()
app.register(authPlugin, { database: {} })

app.get('/', { onRequest: app.authenticate }, async (request) => {
  const { user } = request
  expectType<AuthenticatedUser | null>(user)
  if (user === null) return ''
  expectType<number>(user.id)
  expectType<string>(user.username)
  expectType<string>(user.email)
  expectType<string[]>(user.roles)
  expectError(user.password)
  return user.email
})

expectType<string | number>({} as BaseUser['id'])
expectType<{ id: number, email: string, roles: string[] }>({ ...({} as FastifyTokenAuth.User) })
const user = await app.tokenAuth.createUser({ username: 'ada', password: null, fields: { email: 'ada@example.com' } })
expectType<number>(user.id)
expectType<string>(user.email)
expectType<string>((await app.tokenAuth.issueToken(user.id)).user.email)
