import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import type { Kysely } from 'kysely'
import { COMMAND_FAILED, INVALID_OPTION } from '../errors.js'
import { lockDirectory } from './data-directory.js'
import { readDatabaseUrl } from './environment.js'
import { reasonOf } from './failure.js'
import type { Environment } from './io.js'
import { importPeer } from './packages.js'

export interface CliDatabase {
  db: Kysely<any>
  /** For display, without user and password. */
  label: string
  isEmbedded: boolean
  close (): Promise<void>
}

/** Prints a line. */
export type Announce = (line: string) => void

export interface Place {
  data?: string
  memory?: boolean
}

export const DATA_FLAG = {
  data: { type: 'string', value: '<directory>', about: 'directory of the embedded database, used without DATABASE_URL (default .data)' }
} as const

// The statement that fails reports the error.
const ignore = () => {}
/** For connections whose failures the command reports itself. */
export const SILENT = { info: ignore, warn: ignore, error: ignore }

/**
 * Runs the work over PostgreSQL if DATABASE_URL is set, otherwise over the embedded database, and closes it. `announce` gets a line before
 * an embedded database is opened, which takes seconds.
 */
export async function withDatabase<Result> (env: Environment, place: Place, work: (database: CliDatabase) => Promise<Result>, announce: Announce = ignore): Promise<Result> {
  const database = await open(readDatabaseUrl(env), place, env, announce)
  try {
    return await work(database)
  } finally {
    await database.close()
  }
}

async function open (url: string | null, { data, memory = false }: Place, env: Environment, announce: Announce): Promise<CliDatabase> {
  if (data !== undefined && memory) throw new INVALID_OPTION('--data and --memory exclude each other')
  if (url === null) return memory ? await openMemory(announce) : await openDirectory(data ?? '.data', announce)
  if (data === undefined && !memory) return await openServer(url, env)
  throw new INVALID_OPTION(`${memory ? '--memory' : '--data'} is for the embedded database, but DATABASE_URL is set`)
}

async function openServer (url: string, env: Environment): Promise<CliDatabase> {
  const { openDatabase } = await import('../sql/database.js')
  const { db, close } = openDatabase({ connectionString: url }, SILENT)
  const label = labelOf(url, env)
  try {
    const { reach } = await import('../sql/reach.js')
    await reach(db)
  } catch (error) {
    await close()
    throw new COMMAND_FAILED(`${label} cannot be used: ${reasonOf(error)}`)
  }
  return { db, label, isEmbedded: false, close }
}

// The driver's defaults, for a URL without host or port.
function labelOf (url: string, { PGHOST = 'localhost', PGPORT = '5432' }: Environment): string {
  const { hostname, port, pathname, searchParams } = new URL(url)
  const host = hostname || searchParams.get('host') || PGHOST
  return `PostgreSQL at ${host}:${port || PGPORT}${decodeURIComponent(pathname)}`
}

async function openMemory (announce: Announce): Promise<CliDatabase> {
  announce('Creating the embedded database in memory ...')
  return await openEmbedded('in memory, gone with this process')
}

async function openDirectory (directory: string, announce: Announce): Promise<CliDatabase> {
  const unlock = lockDirectory(directory)
  try {
    const dataDir = join(directory, 'pglite')
    announce(`${existsSync(dataDir) ? 'Opening' : 'Creating'} the embedded database in ${directory} ...`)
    const { close, ...database } = await openEmbedded(`in ${directory}`, { dataDir })
    return { ...database, close: () => close().finally(unlock) }
  } catch (error) {
    unlock()
    throw error
  }
}

async function openEmbedded (place: string, options: { dataDir?: string } = {}): Promise<CliDatabase> {
  const { PGlite } = await importPeer<typeof import('@electric-sql/pglite')>('@electric-sql/pglite', 'Set DATABASE_URL, or install an embedded database. ')
  const pglite = await PGlite.create(options).catch((error) => {
    throw new COMMAND_FAILED(`The embedded database ${place} cannot be opened: ${reasonOf(error)}`)
  }) as PGlite
  const { Kysely, PostgresDialect } = await import('kysely')
  const { createPGlitePool } = await import('../sql/pglite-pool.js')
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: createPGlitePool(pglite) }) })
  return { db, label: `embedded PostgreSQL (PGlite) ${place}`, isEmbedded: true, close: () => db.destroy() }
}
