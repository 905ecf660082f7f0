import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { createBcryptThreads } from '../../lib/passwords/bcrypt-threads.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { caller, createApp, createUser, fastHasher, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'

// An error event without a listener is an uncaught exception, and fails the test.

const SALT = '$2b$04$n79VH.0Q2TMWmt3Oqt9uku'

t.test('bcrypt\'s threads whose worker cannot be loaded', async (t) => {
  // Each thread loads the modules of the test runner first, so the tests start only a few.
  const folder = t.testdir({ 'throws.mjs': 'throw new Error(\'require is not defined\')' })
  const file = (name: string) => pathToFileURL(join(folder, name)).href

  await t.test('reject every waiting task with a clear error', async (t) => {
    const { hash, close } = createBcryptThreads({ threads: 2, worker: file('absent.mjs') })
    const results = await Promise.allSettled([hash('a', SALT), hash('b', SALT), hash('c', SALT)])
    for (const result of results) t.match(result, { status: 'rejected', reason: { message: /^bcrypt's threads cannot be started: Cannot find module .*absent\.mjs/ } })
    await close()
  })

  await t.test('are started again by the next task, whose own error is passed on unchanged', async (t) => {
    const { hash, compare, close } = createBcryptThreads({ threads: 1, worker: file('throws.mjs') })
    await t.rejects(hash('a', SALT), { message: 'bcrypt\'s threads cannot be started: require is not defined' })
    await writeFile(new URL(file('throws.mjs')), 'export default async ({ salt }) => { if (salt) return \'hashed\'; throw new Error(\'no salt\') }')
    t.equal(await hash('a', SALT), 'hashed')
    await t.rejects(compare('a', SALT), { message: 'no salt' })
    await close()
  })

  await t.test('cause 503 for logins, and one line in the log', async (t) => {
    const database = await createDatabase()
    t.teardown(database.drop)
    const threads = createBcryptThreads({ threads: 1, worker: file('absent.mjs') })
    const hasher: AuthPluginOptions['hasher'] = { ...fastHasher, verify: threads.compare, close: threads.close }
    const lines: { msg: string, err?: { message: string } }[] = []
    const stream = { write (line: string) { lines.push(JSON.parse(line)) } }
    const app = await createApp(t, testOptions(database.url, { hasher }), { server: { logger: { level: 'error', stream } } })
    const { username } = await createUser(app)
    for (const name of [username, 'nobody']) {
      const reply = await caller(app)('POST', '/auth/login', { body: { username: name, password: PASSWORD } })
      t.match([reply.statusCode, reply.json().code], [503, 'FST_TOKEN_AUTH_UNAVAILABLE'])
    }
    t.match(lines.filter(({ msg }) => msg === 'passwords cannot be checked: a hasher fails'), [{ err: { message: /^bcrypt's threads cannot be started: Cannot find module .*absent\.mjs/ } }])
  })
})
