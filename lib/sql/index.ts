import { sql } from 'kysely'
import type pg from 'pg'
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
import { createMemberStore } from './members.js'
import { createNotifyChannel } from './notify-channel.js'
import { createOutcomes } from './outcomes.js'
import { PreparedClient } from './prepared-client.js'
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
  const { db, poolSize, openClient, close } = openDatabase(settings.database, logger)
  const openListener = listenerOf(cache.near?.connection ?? null, openClient)
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
    members: createMemberStore(gateway, tables),
    /** Whether `openChannel` can receive. */
    canListen: openListener !== null,
    openChannel: (server: string, onFailure: (error: Error) => void) => createNotifyChannel({ sql: gateway, tables, server, openListener, onFailure }),
    key,
    clock,
    /** Reports calls with an unknown outcome to the watcher. Returns a function that stops it. */
    watchOutcomes: outcomes.watch,
    assertPrimary: () => withDeadline(primary.assert(), { timeoutMs, expired }),
    /** The selected columns of the users table, after the start. */
    readSelectedColumns: async () => await readSelectedColumns(gateway, tables),
    ping: singleFlight(async () => { await gateway.read((db) => sql`select 1`.execute(db)) }),
    /** `place`: where this server's cache is, for commands to find it. `hashLength` computes the length of the longest password hash. */
    async start (place: { keys: CacheKeys | null } | null, hashLength: () => Promise<number>) {
      registry = place === null ? null : createCacheRegistry({ sql: gateway, tables, keys: formatKeys(place.keys, randomBytes(16).toString('hex')), ttlMs: cache.ttlMs, clock, logger })
      await startDatabase({ db, tables, primary, key, registry, autoMigrate, hashLength: isCommand ? null : hashLength, start, logger, signal: closing.signal })
    },
    async close () {
      closing.abort()
      await registry?.close()
      await close(timeoutMs)
    }
  }
}

function listenerOf (connection: pg.ClientConfig | null, openClient: (() => pg.Client) | null): (() => pg.Client) | null {
  return connection === null ? openClient : () => new PreparedClient({ keepAlive: true, ...connection })
}
