import type { Kysely } from 'kysely'
import { INVALID_OPTION } from '../errors.js'
import { migrateDown, migrateUp, migrationStatus, printMigrations } from '../sql/migrations/index.js'
import type { TableMap } from '../sql/tables.js'
import { defineCommand } from './command.js'
import type { FlagValues } from './command.js'
import { print } from './io.js'
import { MAPPING_FLAGS, toTableMap } from './table-flags.js'
import { DATA_FLAG, withDatabase } from './open-database.js'
import { printable } from './printable.js'

const FLAGS = {
  up: { type: 'boolean', about: 'apply what is missing (this is the default)' },
  down: { type: 'boolean', about: 'take back the latest migration, which drops a table' },
  yes: { type: 'boolean', about: 'needed with --down' },
  status: { type: 'boolean', about: 'tell what is applied' },
  sql: { type: 'boolean', about: 'print the statements of --up or --down, without a database' },
  ...DATA_FLAG,
  ...MAPPING_FLAGS
} as const

type Values = FlagValues<typeof FLAGS>

const VERBS = ['up', 'down', 'status'] as const

/** `migrate`: makes the tables. */
export const migrate = defineCommand({
  name: 'migrate',
  summary: 'make the tables, or take them back',
  details: [
    'Safe to run twice, and from several processes at once.',
    'Statements that --sql printed and that were run by hand are not recorded: do not use --up afterwards.'
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
  if (other !== undefined) throw new INVALID_OPTION(`Only one of --${verb} and --${other} can be`)
  if (values.sql === true && verb === 'status') throw new INVALID_OPTION('--sql goes with --up or --down')
  if (verb !== 'down' || values.sql === true || values.yes === true) return verb
  throw new INVALID_OPTION('--down drops a table and everything in it: say --yes as well if that is what you want')
}

// Statements are printed as they are, for with another name they would make another table.
function refuseUnprintable (values: Values): void {
  const [flag] = Object.entries(values).find(([, value]) => printable(String(value)) !== String(value)) ?? []
  if (flag !== undefined) throw new INVALID_OPTION(`--sql prints no control characters, and --${flag} has one`)
}

async function toSql (verb: 'up' | 'down' | 'status', map: TableMap): Promise<string> {
  if (map.users.idType === null) throw new INVALID_OPTION('--sql asks no database, so your own users table needs --id-type: uuid, integer, bigint or text')
  const statements = await printMigrations(map, verb as 'up' | 'down')
  return statements.map((statement) => `${statement};\n`).join('')
}

async function carryOut (verb: 'up' | 'down' | 'status', db: Kysely<any>, map: TableMap): Promise<string[]> {
  if (verb === 'status') return await tellStatus(db, map)
  const names = verb === 'up' ? await migrateUp(db, map) : await migrateDown(db, map)
  if (names.length === 0) return [verb === 'up' ? 'Nothing to do: every migration is applied' : 'Nothing to take back: no migration is applied']
  return names.map((name) => `${verb === 'up' ? 'Applied' : 'Took back'} ${name}`)
}

async function tellStatus (db: Kysely<any>, map: TableMap): Promise<string[]> {
  const migrations = await migrationStatus(db, map)
  return migrations.map(({ name, executedAt }) => `${name}  ${executedAt === undefined ? 'missing' : `applied ${executedAt.toISOString()}`}`)
}
