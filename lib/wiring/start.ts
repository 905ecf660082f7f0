import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from '../../types/ports.js'
import type { Settings } from '../options.js'
import { checkTables } from '../stores/check.js'
import { migrateUp } from '../stores/migrations/index.js'
import { toOwnError } from '../stores/pg-errors.js'
import { DATABASE_UNREACHABLE } from '../errors.js'
import type { Stores } from './stores.js'

const CACHE_PATIENCE_MS = 1000

/**
 * Migrates if asked, checks the tables, and connects the cache. A database that cannot be reached stops the
 * start (`start: 'degraded'`: it is waited for while requests are answered 503); a cache that can't, never.
 */
export async function startStores (stores: Stores, settings: Settings, logger: Logger): Promise<void> {
  try {
    await prepareDatabase(stores, settings, logger)
  } catch (error) {
    if (settings.start === 'strict' || (error as { code?: string }).code !== 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE') throw error
    logger.error({ err: error }, 'the database cannot be reached: starting without it')
  }
  await startCache(stores)
}

async function prepareDatabase ({ db, tables }: Stores, { autoMigrate, map }: Settings, logger: Logger): Promise<void> {
  if (autoMigrate) {
    const applied = await migrateUp(db, map).catch(refuseUnreachable)
    if (applied.length > 0) logger.info({ applied }, 'migrated the database')
  }
  await checkTables(db, tables)
}

function refuseUnreachable (error: unknown): never {
  const { cause, code } = toOwnError(error) as Error & { code?: string }
  const { code: sqlState = '', message } = (cause ?? {}) as Error & { code?: string }
  if (code === 'FST_TOKEN_AUTH_UNAVAILABLE' && !sqlState.startsWith('42')) throw new DATABASE_UNREACHABLE(sqlState || message)
  throw error
}

async function startCache ({ tombstones, redis }: Stores): Promise<void> {
  const patience = new AbortController()
  tombstones.start()
  const connected = redis?.connect().then(() => tombstones.ready) ?? tombstones.ready
  // It goes on trying by itself; the client has logged what is wrong.
  await Promise.race([connected.catch(() => {}), pause(CACHE_PATIENCE_MS, undefined, patience).catch(() => {})])
  patience.abort()
}
