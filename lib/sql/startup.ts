import type { Kysely } from 'kysely'
import type { ServerKey } from '../crypto/seal.js'
import { DATABASE_REFUSED, DATABASE_UNREACHABLE, MISSING_TABLES, STANDBY_DATABASE } from '../errors.js'
import type { Logger } from '../ports.js'
import { withDeadline } from '../tools/deadline.js'
import { untilDone } from '../tools/until-done.js'
import type { CacheRegistry } from './caches.js'
import { checkColumns } from './check-columns.js'
import { checkForeignKey } from './check-foreign-key.js'
import { checkHashLimit } from './check-hash-column.js'
import { checkPolicies } from './check-policies.js'
import { checkSearchPath } from './check-search-path.js'
import { checkUniqueNames } from './check-unique-names.js'
import { asStartError, codeOf, unreachable } from './errors.js'
import { migrateUp } from './migrations/index.js'
import type { Primary } from './primary.js'
import { checkEncoding, checkLimits, checkTables } from './startup-checks.js'
import type { Tables } from './tables.js'

export interface StartupSettings {
  db: Kysely<any>
  tables: Tables
  primary: Primary
  key: ServerKey
  /** `null`: there is nothing to register. */
  registry: CacheRegistry | null
  autoMigrate: boolean
  /** Computes the length of the longest hash that may be written. `null`: a command, whose hasher need not be that of the servers. */
  hashLength: (() => Promise<number>) | null
  /** `'degraded'`: a database that is unreachable, or a standby, is retried in the background. */
  start: 'strict' | 'degraded'
  logger: Logger
  /** Ends the retries. */
  signal: AbortSignal
}

const RETRIES = { firstMs: 1000, longestMs: 1000 }
/** The time of one check, and of a degraded start. Fastify gives a plugin 10 s in all. */
const CHECK_MS = 5000

/**
 * Migrates if that is wanted, and checks the database.
 * @throws `FST_TOKEN_AUTH_DATABASE_UNREACHABLE`, `FST_TOKEN_AUTH_STANDBY_DATABASE` unless `start` is `'degraded'`; `FST_TOKEN_AUTH_MISSING_TABLES`
 */
export async function startDatabase (settings: StartupSettings): Promise<void> {
  const preparing = prepare(settings)
  if (settings.start === 'strict') return await preparing.catch(suggestDegraded)
  try {
    await inTime(preparing)
  } catch (error) {
    if (!mayRecover(error)) throw error
    settings.logger.error({ err: error }, 'the database cannot be reached: starting without it')
    goOn(settings, preparing, codeOf(error))
  }
}

function suggestDegraded (error: Error): never {
  throw error instanceof DATABASE_UNREACHABLE ? new DATABASE_UNREACHABLE(`${error.message}. To start without it, set start: 'degraded'`) : error
}

function inTime<Result> (work: Promise<Result>): Promise<Result> {
  return withDeadline(work, { timeoutMs: CHECK_MS, expired: () => unreachable(`no answer within ${CHECK_MS} ms`) })
}

function mayRecover (error: unknown): boolean {
  return [DATABASE_UNREACHABLE, DATABASE_REFUSED, STANDBY_DATABASE].some((Recoverable) => error instanceof Recoverable)
}

// A preparation that is merely slow may still succeed; after a failure another one begins.
async function goOn (settings: StartupSettings, preparing: Promise<void>, reported: string): Promise<void> {
  const { logger, signal } = settings
  let attempt: Promise<void> | null = preparing
  await untilDone(async () => {
    const error = await (attempt ?? prepare(settings)).then(() => null, (error: unknown) => error)
    attempt = null
    if (error === null) logger.info({}, 'the database is ready')
    else if (codeOf(error) !== reported && !signal.aborted) logger.error({ err: error }, 'the database is not ready')
    reported = codeOf(error)
    return error === null
  }, signal, RETRIES)
}

async function prepare ({ db, tables, primary, key, registry, autoMigrate, hashLength, logger }: StartupSettings): Promise<void> {
  await inTime(primary.assert())
  if (autoMigrate) {
    const applied = await migrateUp(db, tables.map).catch((error) => { throw asStartError(error) })
    if (applied.length > 0) logger.info({ applied }, 'migrated the database')
  }
  await inTime(checkTables(db, tables))
  await inTime(checkForeignKey(db, tables))
  const columns = await inTime(checkColumns(db, tables))
  if (hashLength !== null) await checkHashLimit(columns, hashLength, tables)
  await inTime(checkEncoding(db, logger))
  // Any other failure is no reason not to start: the first use reads the key.
  await key.load().catch((error) => { if (error instanceof MISSING_TABLES) throw error })
  await registry?.start().catch(refuseForbidden)
  await inTime(checkLimits(db, logger)).catch(() => {})
  await inTime(checkPolicies(db, tables, logger)).catch(() => {})
  await inTime(checkSearchPath(db, logger)).catch(() => {})
  await inTime(checkUniqueNames(db, tables, logger)).catch(() => {})
}

// A database that cannot be written now is written later.
function refuseForbidden ({ cause }: Error): void {
  if (codeOf(cause) === '42501') throw new MISSING_TABLES(`The caches table cannot be written: ${(cause as Error).message}. See docs/storage.md#postgresql-grants`)
}
