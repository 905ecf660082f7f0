import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from '../../types/ports.js'
import type { Settings } from '../options.js'
import { checkTables } from '../stores/check.js'
import { checkColumns } from '../stores/check-columns.js'
import { checkEncoding } from '../stores/check-encoding.js'
import { migrateUp } from '../stores/migrations/index.js'
import { codeOf, isUnreachable, withoutValues } from '../stores/pg-errors.js'
import { DATABASE_UNREACHABLE } from '../errors.js'
import type { Stores } from './stores.js'

const CACHE_PATIENCE_MS = 1000
const DATABASE_PAUSE_MS = 1000

export interface Started {
  /** Stops waiting for the database. What is under way ends with its connection. */
  close (): Promise<void>
}

/**
 * Migrates if asked, checks the tables, and connects the cache. A database that cannot be reached stops the
 * start (`start: 'degraded'`: it is waited for while requests are answered 503); a cache that can't, never.
 */
export async function startStores (stores: Stores, settings: Settings, logger: Logger): Promise<Started> {
  const closing = new AbortController()
  try {
    await prepareDatabase(stores, settings, logger)
  } catch (error) {
    if (settings.start === 'strict' || codeOf(error) !== 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE') throw error
    logger.error({ err: error }, 'the database cannot be reached: starting without it')
    awaitDatabase(() => prepareDatabase(stores, settings, logger), logger, closing.signal)
  }
  await startCache(stores)
  return {
    async close () { closing.abort() }
  }
}

// The migrations and the check that the start could not do.
async function awaitDatabase (prepare: () => Promise<void>, logger: Logger, signal: AbortSignal): Promise<void> {
  let reported = 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE'
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

async function prepareDatabase ({ db, tables, secret, checkLimits }: Stores, { autoMigrate, map }: Settings, logger: Logger): Promise<void> {
  if (autoMigrate) {
    const applied = await migrateUp(db, map).catch(refuseUnreachable)
    if (applied.length > 0) logger.info({ applied }, 'migrated the database')
  }
  await checkTables(db, tables)
  await checkColumns(db, tables)
  await checkEncoding(db, logger)
  // If it cannot be read now, the first use reads it: no reason not to start.
  await secret.load().catch((error) => { if (codeOf(error) === 'FST_TOKEN_AUTH_MISSING_TABLES') throw error })
  await checkLimits()
}

function refuseUnreachable (error: unknown): never {
  if (typeof (error as { statusCode?: unknown }).statusCode === 'number') throw error
  throw isUnreachable(error) ? new DATABASE_UNREACHABLE(codeOf(error) || withoutValues(error).message) : withoutValues(error)
}

async function startCache ({ tombstones, near, redis }: Stores): Promise<void> {
  const patience = new AbortController()
  tombstones.start()
  near.start()
  const connected = redis?.connect().then(() => tombstones.ready) ?? tombstones.ready
  // It goes on trying by itself; the client has logged what is wrong.
  await Promise.race([connected.catch(() => {}), pause(CACHE_PATIENCE_MS, undefined, patience).catch(() => {})])
  patience.abort()
}
