import type { Kysely } from 'kysely'
import { INVALID_OPTION } from '../errors.js'
import type { TableMap } from '../options/table-map.js'
import { defineCommand } from './command.js'
import type { FlagValues } from './command.js'
import { print, printable } from './io.js'
import { DATA_FLAG, withDatabase } from './open-database.js'
import { MAPPING_FLAGS, toTableMap } from './table-flags.js'

const FLAGS = {
  up: { type: 'boolean', about: 'apply the missing migrations (the default)' },
  down: { type: 'boolean', about: 'revert the latest migration, which drops a table' },
  yes: { type: 'boolean', about: 'required with --down' },
  status: { type: 'boolean', about: 'show which migrations are applied' },
  sql: { type: 'boolean', about: 'print the statements of --up or --down, without a database' },
  ...DATA_FLAG,
  ...MAPPING_FLAGS
} as const

type Values = FlagValues<typeof FLAGS>

const VERBS = ['up', 'down', 'status'] as const

/** `migrate`. */
export const migrate = defineCommand({
  name: 'migrate',
  summary: 'create the tables, or drop them again',
  details: [
    'Safe to repeat, and to run from several processes at once.',
    'Migrations applied by hand from the output of --sql are not recorded: do not use --up afterwards.'
  ],
  flags: FLAGS,
  async run (io, values) {
    const verb = readVerb(values)
    const map = toTableMap(values)
    if (values.sql === true) {
      refuseUnprintable(values)
      io.stdout.write(await toSql(verb, map))
    } else {
      print(io.stdout, ...await withDatabase(io.env, values, ({ db }) => carryOut(verb, db, map)))
    }
    return 0
  }
})

function readVerb (values: Values): typeof VERBS[number] {
  const [verb = 'up', other] = VERBS.filter((name) => values[name] === true)
  if (other !== undefined) throw new INVALID_OPTION(`--${verb} and --${other} exclude each other`)
  if (values.sql === true && verb === 'status') throw new INVALID_OPTION('--sql can only be combined with --up or --down')
  if (verb !== 'down' || values.sql === true || values.yes === true) return verb
  throw new INVALID_OPTION('--down drops a table and everything in it: add --yes to confirm')
}

// Statements are printed unchanged: an escaped name would create another table.
function refuseUnprintable (values: Values): void {
  const [flag] = Object.entries(values).find(([, value]) => printable(String(value)) !== String(value)) ?? []
  if (flag !== undefined) throw new INVALID_OPTION(`--sql cannot print control characters, and --${flag} contains one`)
}

async function toSql (verb: 'up' | 'down' | 'status', map: TableMap): Promise<string> {
  if (map.users.idType === null) throw new INVALID_OPTION('--sql does not connect to the database, so your own users table needs --id-type: uuid, integer, bigint or text')
  const { printMigrations } = await import('../sql/migrations/index.js')
  const statements = await printMigrations(map, verb as 'up' | 'down')
  return statements.map((statement) => `${statement};\n`).join('')
}

async function carryOut (verb: 'up' | 'down' | 'status', db: Kysely<any>, map: TableMap): Promise<string[]> {
  const { migrateDown, migrateUp, migrationStatus } = await import('../sql/migrations/index.js')
  if (verb === 'status') return toStatusLines(await migrationStatus(db, map))
  const names = verb === 'up' ? await migrateUp(db, map) : await migrateDown(db, map)
  if (names.length === 0) return [verb === 'up' ? 'Nothing to do: every migration is applied' : 'Nothing to revert: no migration is applied']
  return names.map((name) => `${verb === 'up' ? 'Applied' : 'Reverted'} ${name}`)
}

function toStatusLines (migrations: readonly { name: string, executedAt?: Date | undefined }[]): string[] {
  return migrations.map(({ name, executedAt }) => `${name}  ${executedAt === undefined ? 'missing' : `applied ${executedAt.toISOString()}`}`)
}
