import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { AuthPluginOptions } from '../../../lib/index.js'
import { createTokenFormat } from '../../../lib/crypto/token.js'
import { createApp, createUser, login, testOptions } from '../../helpers/app.js'
import { usedHeap } from '../../helpers/heap.js'
import { createDatabase, redisUrl } from '../../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

/** `npm run test:soak` runs 200 000. */
const REQUESTS = Number(process.env['SOAK_REQUESTS'] ?? 60_000)
const WIDTH = 50
/** Allows for compiled code and buffers that grow once. A leak of 20 bytes per request would exceed it in the long run. */
const MAX_GROWTH_MB = 3
/** Long time limits, so that nothing times out on a busy machine. */
const PATIENT: Partial<AuthPluginOptions> = { redis: { url: redisUrl(), commandTimeout: 10_000 }, lookup: { maxWait: '30s', timeout: '20s' } }
const format = createTokenFormat({ prefix: 'fta', randomBytes })

/** Mostly cache hits; every 10th request is refused, and every 100th logs in and out. */
async function soak (app: FastifyInstance, tokens: readonly string[], username: string): Promise<(count: number) => Promise<void>> {
  const ask = async (token: string, expected: number) => {
    const { statusCode } = await app.inject({ url: '/protected', headers: { authorization: `Bearer ${token}` } })
    if (statusCode !== expected) throw new Error(`answered ${statusCode} in place of ${expected}`)
  }
  const visit = async () => {
    const token = await login(app, username)
    await app.inject({ method: 'POST', url: '/auth/logout', headers: { authorization: `Bearer ${token}` } })
    await ask(token, 401)
  }
  const request = async (i: number) => {
    if (i % 100 === 0) await visit()
    else if (i % 10 === 0) await ask(i % 20 === 0 ? format.create() : `${format.create()}x`, 401)
    else await ask(tokens[i % tokens.length]!, 200)
  }
  return async (count) => {
    for (let done = 0; done < count; done += WIDTH) await Promise.all(Array.from({ length: WIDTH }, (_, i) => request(done + i)))
  }
}

t.test(`${REQUESTS} requests do not grow the heap`, async (t) => {
  const small = { max: 100 }
  // Bounded caches are full after the first quarter.
  const setups: Record<string, [Partial<AuthPluginOptions>, number]> = {
    'with Redis': [{}, REQUESTS],
    'with a near cache': [{ cache: { near: small } }, REQUESTS / 4],
    'in one process': [{ redis: undefined as never, cache: small }, REQUESTS / 4]
  }
  for (const [name, [setup, requests]] of Object.entries(setups)) {
    await t.test(name, async (t) => {
      const app = await createApp(t, testOptions(database.url, { ...PATIENT, ...setup, cache: { timeout: '10s', ...setup.cache } }))
      const { id, username } = await createUser(app)
      const tokens: string[] = []
      for (let i = 0; i < 40; i++) tokens.push((await app.tokenAuth.issueToken(id)).token)
      const run = await soak(app, tokens, username)
      await run(requests / 4)
      const before = await usedHeap()
      const startedAt = performance.now()
      await run(requests * 3 / 4)
      const seconds = (performance.now() - startedAt) / 1000
      const growth = await usedHeap() - before
      t.ok(growth < MAX_GROWTH_MB, `grew by ${growth.toFixed(2)} MB`)
      t.comment(`${requests} requests, ${Math.round(requests * 3 / 4 / seconds)}/s: ${before.toFixed(1)} MB after a quarter, ${growth.toFixed(2)} MB more at the end`)
    })
  }
})
