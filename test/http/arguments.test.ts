import t from 'tap'
import { caller, createApp, createUser, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

t.test('functions of tokenAuth reject arguments of a wrong type, and do nothing', async (t) => {
  const app = await createApp(t, testOptions(database.url))
  // As JavaScript calls it: the types would refuse most of these calls.
  const tokenAuth = app.tokenAuth as any
  const { id, username } = await createUser(app)
  const { token } = await tokenAuth.issueToken(id)
  const unknown = (name: string, of: string) => new RegExp(`^Unknown option "${name}" of ${of}\\(\\); known options: `)
  const bad: [call: () => Promise<unknown>, message: string | RegExp][] = [
    [() => tokenAuth.setActive(id, 'false'), 'active must be true or false, got "false"'],
    [() => tokenAuth.setActive(id, 0), 'active must be true or false, got 0'],
    [() => tokenAuth.setActive(id), 'active must be true or false, got undefined'],
    [() => tokenAuth.issueToken(id, { scope: ['reports'] }), unknown('scope', 'issueToken')],
    [() => tokenAuth.issueToken(id, { expiresIn: '1h' }), unknown('expiresIn', 'issueToken')],
    [() => tokenAuth.issueToken(id, { scopes: undefined }), 'issueToken: scopes must be an array, or null for a token that may do everything, got undefined'],
    [() => tokenAuth.issueToken(id, { scopes: '{admin}' }), 'issueToken: scopes must be an array, got "{admin}"'],
    [() => tokenAuth.issueToken(id, { scopes: ['a b'] }), /^issueToken: scopes\[0\] must be a scope/],
    [() => tokenAuth.issueToken(id, { label: 5 }), 'issueToken: label must be a string, got number'],
    [() => tokenAuth.issueToken(id, { ttl: '1 ms' }), /^issueToken: ttl must be a duration/],
    [() => tokenAuth.issueToken(id, null), 'issueToken() must be an object, got null'],
    [() => tokenAuth.createUser({ username: 'new' }), 'createUser: password must be a string, got undefined'],
    [() => tokenAuth.createUser({ username: 'new', password: 123456789 }), 'createUser: password must be a string, got number'],
    [() => tokenAuth.createUser({ username: null, password: PASSWORD }), 'createUser: username must be a string, got null'],
    [() => tokenAuth.createUser({ username: 'new', password: PASSWORD, field: {} }), unknown('field', 'createUser')],
    [() => tokenAuth.createUser({ username: 'new', password: PASSWORD, fields: ['a'] }), 'createUser: fields must be an object, got an array'],
    [() => tokenAuth.createUser(), 'createUser() must be an object, got undefined'],
    [() => tokenAuth.findUser(undefined), 'username must be a string, got undefined'],
    [() => tokenAuth.setPassword(id, undefined), 'password must be a string, got undefined'],
    [() => tokenAuth.revokeToken(Buffer.from(token)), 'token must be a string, got object'],
    [() => tokenAuth.revokeSession(undefined), 'sessionId must be a string, got undefined'],
    [() => tokenAuth.pruneExpired({ batch: 5 }), unknown('batch', 'pruneExpired')],
    [() => tokenAuth.pruneExpired({ batchSize: 0 }), 'pruneExpired: batchSize must be an integer from 1 to 1000000, got 0'],
    [() => tokenAuth.revokeAll({ progress () {} }), unknown('progress', 'revokeAll')]
  ]
  for (const name of ['setPassword', 'setActive', 'deleteUser', 'issueToken', 'revokeUser', 'listSessions', 'refreshUser']) {
    for (const [value, shown] of [[undefined, 'undefined'], [null, 'null'], [Buffer.from('1'), 'an instance of Buffer'], [{ id }, 'an object']] as const) {
      bad.push([() => tokenAuth[name](value, name === 'setPassword' ? PASSWORD : name === 'setActive' ? false : undefined), `userId must be a string or a number, got ${shown}`])
    }
  }
  for (const [call, message] of bad) await t.rejects(call(), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
  t.equal((await caller(app)('GET', '/protected', { token })).statusCode, 200)
  t.equal((await tokenAuth.listSessions(id)).length, 1)
  t.equal(await tokenAuth.findUser('new'), null)
  t.same(await tokenAuth.findUser(username), { id, username })
})

t.test('a token issued with scopes null may do everything, and one with an empty list nothing', async (t) => {
  const app = await createApp(t, testOptions(database.url))
  const { id } = await createUser(app)
  for (const [scopes, status] of [[null, 200], [[], 403]] as const) {
    const { token } = await app.tokenAuth.issueToken(id, { scopes })
    t.equal((await caller(app)('GET', '/protected', { token })).statusCode, status)
  }
})
