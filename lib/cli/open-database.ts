import { join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import { Kysely, PostgresDialect, sql } from 'kysely'
import { COMMAND_FAILED, INVALID_OPTION } from '../errors.js'
import { openDatabase } from '../sql/database.js'
import { createPGlitePool } from '../sql/pglite-pool.js'
import { lockDirectory } from './data-directory.js'
import { readDatabaseUrl } from './environment.js'
import { reasonOf } from './failure.js'
import type { Environment } from './io.js'
import { importPeer } from './peers.js'

export interface CliDatabase {
  db: Kysely<any>
  /** For a person: without user and password. */
  label: string
  isEmbedded: boolean
  close (): Promise<void>
}

export interface Place {
  data?: string
  memory?: boolean
}

export const DATA_FLAG = {
  data: { type: 'string', value: '<directory>', about: 'where the embedded database is, without DATABASE_URL (default .data)' }
} as const

// What goes wrong is told by the statement that fails.
const ignore = () => {}
const SILENT = { info: ignore, warn: ignore, error: ignore }

/** Runs the work over PostgreSQL if DATABASE_URL is set, else over the embedded database, and closes it. */
export async function withDatabase<Result> (env: Environment, place: Place, work: (database: CliDatabase) => Promise<Result>): Promise<Result> {
  const database = await open(readDatabaseUrl(env), place, env)
  try {
    return await work(database)
  } finally {
    await database.close()
  }
}

async function open (url: string | null, { data, memory = false }: Place, env: Environment): Promise<CliDatabase> {
  if (data !== undefined && memory) throw new INVALID_OPTION('Only one of --data and --memory can be')
  if (url === null) return memory ? await openEmbedded(undefined) : await openDirectory(data ?? '.data')
  if (data === undefined && !memory) return await openServer(url, env)
  throw new INVALID_OPTION(`${memory ? '--memory' : '--data'} is for the embedded database, but DATABASE_URL is set`)
}

async function openServer (url: string, env: Environment): Promise<CliDatabase> {
  const { db, close } = openDatabase({ connectionString: url }, SILENT)
  const label = labelOf(url, env)
  try {
    await sql`select 1`.execute(db)
  } catch (error) {
    await close()
    throw new COMMAND_FAILED(`${label} cannot be used: ${reasonOf(error)}`)
  }
  return { db, label, isEmbedded: false, close }
}

// What the driver fills in for an address that leaves it out.
function labelOf (url: string, { PGHOST = 'localhost', PGPORT = '5432' }: Environment): string {
  const { hostname, port, pathname, searchParams } = new URL(url)
  const host = hostname || searchParams.get('host') || PGHOST
  return `PostgreSQL at ${host}:${port || PGPORT}${decodeURIComponent(pathname)}`
}

async function openDirectory (directory: string): Promise<CliDatabase> {
  const unlock = lockDirectory(directory)
  try {
    const { close, ...database } = await openEmbedded(directory)
    return { ...database, close: () => close().finally(unlock) }
  } catch (error) {
    unlock()
    throw error
  }
}

async function openEmbedded (directory: string | undefined): Promise<CliDatabase> {
  const { PGlite } = await importPeer<typeof import('@electric-sql/pglite')>('@electric-sql/pglite', 'Set DATABASE_URL, or have an embedded database. ')
  const place = directory === undefined ? 'in memory, gone with this process' : `in ${directory}`
  const pglite = await PGlite.create(directory === undefined ? {} : { dataDir: join(directory, 'pglite') }).catch((error) => {
    throw new COMMAND_FAILED(`The embedded database ${place} cannot be opened: ${reasonOf(error)}`)
  }) as PGlite
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: createPGlitePool(pglite) }) })
  return { db, label: `embedded PostgreSQL (PGlite) ${place}`, isEmbedded: true, close: () => db.destroy() }
}
