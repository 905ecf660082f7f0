import { sql } from 'kysely'
import type { Logger } from '../ports.js'
import type { Settings } from '../options/read.js'
import { createDatabaseClock } from '../tools/database-clock.js'
import { withDeadline } from '../tools/deadline.js'
import { singleFlight } from '../tools/single-flight.js'
import { createBounds } from './bounds.js'
import { createCacheRegistry, formatKeys } from './caches.js'
import type { CacheKeys, CacheRegistry } from './caches.js'
import { openDatabase } from './database.js'
import { createSql, expired } from './gateway.js'
import { createOutcomes } from './outcomes.js'
import { createPrimary } from './primary.js'
import { createRevocationStore } from './revocations.js'
import { readSelectedColumns } from './selected-columns.js'
import { createServerKey } from './server-key.js'
import { createSessionStore } from './sessions.js'
import { startDatabase } from './startup.js'
import { createTables } from './tables.js'
import { createTokenStore } from './tokens.js'
import { createUserStore } from './users.js'
import { monotonicNow } from '../tools/monotonic.js'

export type Database = ReturnType<typeof openSql>

/** Opens everything that is stored in PostgreSQL. No I/O until `start`. */
export function openSql (settings: Settings, logger: Logger) {
  const { lookup: { timeoutMs, ...lookup }, map, token, cache, now, start, autoMigrate, isCommand, randomBytes } = settings
  const { db, poolSize, close } = openDatabase(settings.database, logger)
  const tables = createTables(map)
  const primary = createPrimary(db)
  const clock = createDatabaseClock({ now, monotonicNow })
  const outcomes = createOutcomes({ timeoutMs, findEnded: (...args) => revocations.findEnded(...args), monotonicNow })
  const gateway = createSql(db, { timeoutMs, connections: poolSize, bounds: createBounds(lookup, poolSize), outcomes, isPrimary: primary.isKnown })
  const revocations = createRevocationStore(gateway, tables, { cacheTtlMs: cache.ttlMs })
  const key = createServerKey(gateway, tables)
  const closing = new AbortController()
  let registry: CacheRegistry | null = null

  return {
    tokens: createTokenStore(gateway, tables, { ...token, cacheTtlMs: cache.ttlMs }),
    sessions: createSessionStore(gateway, tables, { ...token, cacheTtlMs: cache.ttlMs }),
    revocations,
    users: createUserStore(gateway, tables, logger),
    key,
    clock,
    /** Reports calls with an unknown outcome to the watcher. Returns a function that stops it. */
    watchOutcomes: outcomes.watch,
    assertPrimary: () => withDeadline(primary.assert(), { timeoutMs, expired }),
    /** The selected columns of the users table, after the start. */
    readSelectedColumns: async () => await readSelectedColumns(gateway, tables),
    ping: singleFlight(async () => { await gateway.read((db) => sql`select 1`.execute(db)) }),
    /** `keys`: where this server's cache is. `hashLength` computes the length of the longest password hash. */
    async start (keys: CacheKeys | null, hashLength: () => Promise<number>) {
      registry = isCommand ? null : createCacheRegistry({ sql: gateway, tables, keys: formatKeys(keys, randomBytes(16).toString('hex')), ttlMs: cache.ttlMs, clock, logger })
      await startDatabase({ db, tables, primary, key, registry, autoMigrate, hashLength: isCommand ? null : hashLength, start, logger, signal: closing.signal })
    },
    async close () {
      closing.abort()
      await registry?.close()
      await close(timeoutMs)
    }
  }
}
