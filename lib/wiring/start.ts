import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from '../ports.js'
import type { Settings } from '../options/read.js'
import { checkTables, refuseUnreachable } from '../sql/startup-checks.js'
import { checkColumns } from '../sql/check-columns.js'
import { checkEncoding } from '../sql/check-encoding.js'
import { migrateUp } from '../sql/migrations/index.js'
import { codeOf } from '../sql/errors.js'
import { withDeadline } from '../tools/deadline.js'
import { DATABASE_UNREACHABLE, MISSING_TABLES } from '../errors.js'
import type { Stores } from './stores.js'

const CACHE_PATIENCE_MS = 1000
const DATABASE_PAUSE_MS = 1000
/** For one check of the database: Fastify gives a plugin 10 s in all. */
const CHECK_MS = 5000
/** What may end by itself: a database that comes back, and a standby that is promoted. */
const AWAY = ['FST_TOKEN_AUTH_DATABASE_UNREACHABLE', 'FST_TOKEN_AUTH_STANDBY_DATABASE']

export interface Started {
  /** Stops waiting for the database. What is under way ends with its connection. */
  close (): Promise<void>
}

/**
 * Migrates if asked, checks the tables, and connects the cache. A database that cannot be reached, or is a standby, stops the
 * start (`start: 'degraded'`: it is waited for while requests are answered 503); a cache that can't, never.
 */
export async function startStores (stores: Stores, settings: Settings, logger: Logger): Promise<Started> {
  const closing = new AbortController()
  try {
    await prepareDatabase(stores, settings, logger)
  } catch (error) {
    if (settings.start === 'strict' || !AWAY.includes(codeOf(error))) throw error
    logger.error({ err: error }, 'the database cannot be reached: starting without it')
    awaitDatabase(() => prepareDatabase(stores, settings, logger), { reported: codeOf(error), logger, signal: closing.signal })
  }
  await startCache(stores)
  return {
    async close () { closing.abort() }
  }
}

// The migrations and the check that the start could not do.
async function awaitDatabase (prepare: () => Promise<void>, { reported, logger, signal }: { reported: string, logger: Logger, signal: AbortSignal }): Promise<void> {
  while (!signal.aborted) {
    await pause(DATABASE_PAUSE_MS, undefined, { signal, ref: false }).catch(() => {})
    if (signal.aborted) return
    try {
      await prepare()
      return logger.info({}, 'the database is ready')
    } catch (error) {
      if (codeOf(error) !== reported && !signal.aborted) logger.error({ err: error }, 'the database is not ready')
      reported = codeOf(error)
    }
  }
}

async function prepareDatabase ({ db, primary, tables, serverKey, cacheRegistry, checkLimits }: Stores, { autoMigrate, map }: Settings, logger: Logger): Promise<void> {
  const inTime = <Result>(work: Promise<Result>) => withDeadline(work, { timeoutMs: CHECK_MS, expired: () => new DATABASE_UNREACHABLE(`no answer within ${CHECK_MS} ms`) })
  await inTime(primary.assert())
  if (autoMigrate) {
    const applied = await migrateUp(db, map).catch(refuseUnreachable)
    if (applied.length > 0) logger.info({ applied }, 'migrated the database')
  }
  await inTime(checkTables(db, tables))
  await inTime(checkColumns(db, tables))
  await inTime(checkEncoding(db, logger))
  // If it cannot be read now, the first use reads it: no reason not to start.
  await serverKey.load().catch((error) => { if (codeOf(error) === 'FST_TOKEN_AUTH_MISSING_TABLES') throw error })
  await cacheRegistry.start().catch(refuseForbidden)
  await checkLimits()
}

// A database that cannot be written now is asked again.
function refuseForbidden ({ cause }: Error): void {
  if (codeOf(cause) === '42501') throw new MISSING_TABLES(`The caches table cannot be written: ${(cause as Error).message}. See docs/storage.md#postgresql-grants`)
}

async function startCache ({ upkeep, near, redis }: Stores): Promise<void> {
  const patience = new AbortController()
  upkeep.start()
  near.start()
  const connected = redis?.connect().then(() => upkeep.ready) ?? upkeep.ready
  // It goes on trying by itself; the client has logged what is wrong.
  await Promise.race([connected.catch(() => {}), pause(CACHE_PATIENCE_MS, undefined, patience).catch(() => {})])
  patience.abort()
}
