import type { Kysely } from 'kysely'
import type { Migration } from '../../../types/migrations.js'

export interface MigrationInfo { name: string, executedAt?: Date | undefined }

interface Results { error?: unknown, results?: { migrationName: string }[] }

/** What is used of Kysely's Migrator. */
export interface Migrator {
  migrateToLatest (): Promise<Results>
  migrateDown (): Promise<Results>
  getMigrations (): Promise<readonly MigrationInfo[]>
}

interface MigratorProps {
  db: Kysely<any>
  provider: { getMigrations (): Promise<Record<string, Migration>> }
  migrationTableName: string
  migrationLockTableName: string
  migrationTableSchema: string
}

type MigratorClass = new (props: MigratorProps) => Migrator

// Not written in the import itself: compilers and bundlers would look for it beside kysely 0.28.
const ENTRY: string = 'kysely/migration'

type Root = { Migrator?: MigratorClass }

/** Kysely's Migrator takes an advisory lock, so that several processes can migrate at once. `root` is the module `kysely`. */
export async function openMigrator (props: MigratorProps, root?: Root): Promise<Migrator> {
  const { Migrator } = await importMigrator(root ?? await import('kysely') as unknown as Root)
  return new Migrator(props)
}

// Kysely 0.28 exports it from the root, 0.29 from an entry of its own that 0.28 does not have.
async function importMigrator ({ Migrator }: Root): Promise<{ Migrator: MigratorClass }> {
  if (Migrator !== undefined) return { Migrator }
  return await import(ENTRY)
}
