import t from 'tap'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../../helpers/app.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../../helpers/services.js'
import { createTcpProxy } from '../../helpers/tcp-proxy.js'

const database = await createDatabase()
t.teardown(database.drop)

t.test('a change of password that is answered 200 also completes the revocations of an earlier, pending one', async (t) => {
  const { port } = new URL(redisUrl())
  const proxy = await createTcpProxy(t, { port: Number(port) })
  const cache = { namespace: uniqueNamespace() }
  const a = await createApp(t, testOptions(database.url, { cache, redis: { url: `redis://127.0.0.1:${proxy.port}` } }))
  const b = await createApp(t, testOptions(database.url, { cache }))
  const { username } = await createUser(a)
  const token = await login(b, username)
  t.equal((await caller(b)('GET', '/protected', { token })).statusCode, 200, 'the token is cached')

  proxy.freeze()
  const changeAt = async (app: typeof a, token: string, currentPassword: string, newPassword: string) =>
    (await caller(app)('POST', '/auth/change-password', { token, body: { currentPassword, newPassword } })).statusCode
  t.equal(await changeAt(a, await login(a, username), PASSWORD, 'the second password'), 503)
  t.equal((await caller(b)('GET', '/protected', { token })).statusCode, 200, 'the first change is pending')
  t.equal(await changeAt(b, await login(b, username, 'the second password'), 'the second password', 'the third password'), 200)
  t.equal((await caller(b)('GET', '/protected', { token })).statusCode, 401)
})
