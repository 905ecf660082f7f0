import { hash, randomBytes } from 'node:crypto'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { createCacheAvailability } from '../../lib/cache/availability.js'
import { createReadThrough } from '../../lib/cache/read-through.js'
import { createDatabaseClock } from '../../lib/tools/database-clock.js'
import { createDoubts } from '../../lib/cache/doubts.js'
import { createMemoryCache } from '../helpers/memory-cache.js'
import { createPseudonyms } from '../../lib/crypto/pseudonym.js'
import { createSeal } from '../../lib/crypto/seal.js'
import { createSql } from '../../lib/sql/gateway.js'
import { createServerKey } from '../../lib/sql/server-key.js'
import type { TokenRecord } from '../../lib/ports.js'
import { until } from '../helpers/until.js'
import { openMigrated } from '../helpers/pools.js'

const record: TokenRecord = { sessionId: 's', user: { id: 1, username: 'a' }, issuedAtMs: 0, expiresAtMs: Date.now() + 60_000, idleAtMs: null, scopes: null }

async function openDatabase (t: Test) {
  const { url, pool, statements, tables, sql } = await openMigrated(t)
  return {
    url,
    pool,
    sql,
    tables,
    open: () => createServerKey(sql, tables),
    statements,
    hide: () => pool.query('alter table auth_tokens_server_key rename to away'),
    show: () => pool.query('alter table away rename to auth_tokens_server_key')
  }
}

t.test('the key is read once, and is available synchronously from then on', async (t) => {
  const { open, statements, hide, show } = await openDatabase(t)
  const secret = open()
  t.equal(secret.current(), null)
  await hide()
  await t.rejects(secret.load(), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  t.equal(secret.current(), null)
  await show()
  statements.length = 0
  const [one, other] = await Promise.all([secret.load(), secret.load()])
  t.equal(one.length, 32)
  t.equal(other, one)
  t.equal(secret.current(), one)
  t.equal(await secret.load(), one)
  t.equal(statements.length, 2, 'the row and the identity of the database')
})

t.test('a role that may not read the identity of the cluster has a key all the same', async (t) => {
  const { url, open, pool, tables } = await openDatabase(t)
  const before = await open().load()
  const role = `reader_${randomBytes(4).toString('hex')}`
  await pool.query(`create role ${role}; grant select on auth_tokens_server_key to ${role}; revoke execute on function pg_control_system from public`)
  const reader = new pg.Pool({ connectionString: url, options: `-c role=${role}` })
  const key = await createServerKey(createSql(new Kysely<any>({ dialect: new PostgresDialect({ pool: reader }) })), tables).load()
  t.equal(key.length, 32)
  t.notSame(key, before)
  await reader.end()
  await pool.query(`drop owned by ${role}; drop role ${role}`)
})

t.test('a key is not made of half its parts: another failure to read the identity is passed on', async (t) => {
  const { url, open, tables, sql } = await openDatabase(t)
  const nowhere = new Kysely<any>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: 'postgres://127.0.0.1:1/none' }) }) })
  let reads = 0
  const key = createServerKey({ ...sql, read: (work, options) => sql.read(++reads === 2 ? () => work(nowhere) : work, options) }, tables)
  await t.rejects(key.load(), { cause: { code: 'ECONNREFUSED' } }, url)
  t.equal(key.current(), null)
  t.same(await key.load(), await open().load(), 'the next read succeeds')
})

t.test('a seal', async (t) => {
  const { open, statements, hide, show } = await openDatabase(t)
  const secret = open()
  await secret.load()
  const seal = createSeal(secret, 'view')

  await t.test('is valid for its own text on every server', async (t) => {
    const other = open()
    await other.load()
    for (const text of ['a', '{"name":"\u00e9\u4e2d"}', 'x'.repeat(100_000)]) {
      const sealed = seal.close(text)!
      t.match(sealed.slice(0, 43), /^[\w-]{43}$/)
      t.equal(sealed.slice(43), text)
      t.equal(createSeal(other, 'view').open(sealed), text)
    }
  })

  await t.test('is valid for no other text, and only with the whole tag', async (t) => {
    const [one, other] = [seal.close('one')!, seal.close('other')!]
    for (const text of ['', one.slice(0, 43), one.slice(0, 42), one.slice(1), `${one}\0`, `${one.slice(0, 43)}other`, `${other.slice(0, 43)}one`, '\u{1f600}'.repeat(30)]) {
      t.equal(seal.open(text), null, JSON.stringify(text))
    }
  })

  await t.test('is valid only for what its text is about', async (t) => {
    const [sealed, plain] = [seal.close('[text]', 'one')!, seal.close('[text]')!]
    t.equal(sealed.slice(43), '[text]')
    t.equal(seal.open(sealed, 'one'), '[text]')
    for (const about of ['other', 'On', '']) t.equal(seal.open(sealed, about), null, about)
    t.equal(seal.open(plain, 'one'), null)
  })

  await t.test('is invalid if any one character changes', async (t) => {
    const sealed = seal.close(JSON.stringify(record))!
    for (let i = 0; i < sealed.length; i++) {
      for (const other of [String.fromCharCode(sealed.charCodeAt(i) ^ 1), '', `${sealed[i]} `]) {
        t.equal(seal.open(sealed.slice(0, i) + other + sealed.slice(i + 1)), null, `${i} ${other}`)
      }
    }
  })

  await t.test('uses a key that no pseudonym reveals', async (t) => {
    const pseudonym = createPseudonyms(secret)
    const under = async (purpose: string) => `${hash('sha512-256', `${await pseudonym(purpose as 'name', 'view')}one`, 'base64url')}one`
    t.equal(await under('cache entry'), seal.close('one'))
    for (const purpose of ['account', 'address', 'captcha', 'name']) t.not(await under(purpose), seal.close('one'))
  })

  await t.test('is neither created nor accepted without the key, which is read in the background as soon as possible', async (t) => {
    const sealed = seal.close('text')!
    const late = createSeal(open(), 'view')
    await hide()
    statements.length = 0
    t.equal(late.open(sealed), null)
    t.equal(late.close('text'), null)
    await until(() => statements.length > 0, 'it tries to read the key')
    await show()
    await until(() => late.close('text') !== null, 'the key is read')
    t.equal(late.close('text'), sealed)
    t.equal(late.open(sealed), 'text')
  })
})

t.test('a cache without the key', async (t) => {
  const { open, hide, show } = await openDatabase(t)
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  availability.trust()
  const cache = createMemoryCache({ max: 10, now: Date.now })
  let asked = 0
  const server = (secret: ReturnType<typeof open>): (digest: string) => Promise<TokenRecord | null> => {
    const find = async () => { asked++; return { record, asOfMs: Date.now() } }
    const store = createReadThrough({ cache, availability, doubts: createDoubts(), seal: createSeal(secret, 'view'), find, ttlMs: 60_000, clock: createDatabaseClock({ now: Date.now, monotonicNow: () => performance.now() }), leaseOwner: 'x', jitter: () => 0 })
    return (digest) => new Promise((resolve, reject) => store.lookup(digest, (error, found) => error === null ? resolve(found === null ? null : found.record) : reject(error)))
  }
  const at = (digest: string) => new Promise((resolve) => cache.get(digest, (_error, value) => resolve(value)))
  const known = open()
  await known.load()
  t.same(await server(known)('a'), record)
  const entry = await at('a')
  t.match(entry, /^V[\w-]{43}\[/)
  await hide()
  const without = server(open())
  asked = 0

  await t.test('is bypassed and not filled', async (t) => {
    t.same(await without('a'), record)
    t.same(await without('b'), record)
    t.equal(asked, 2)
    t.equal(await at('a'), entry)
    t.match(await at('b'), /^L/)
  })

  await t.test('still returns tombstones', async (t) => {
    await cache.tombstone(['c'], 60_000)
    t.equal(await without('c'), null)
    t.equal(asked, 2)
  })

  await t.test('is used once the key is available', async (t) => {
    await show()
    await until(async () => {
      asked = 0
      t.same(await without('a'), record)
      return asked === 0
    }, 'the entry is trusted')
  })
})
