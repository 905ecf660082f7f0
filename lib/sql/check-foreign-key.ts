import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { MISSING_TABLES } from '../errors.js'
import { quoteName, quoteTable } from './quote.js'
import { check } from './startup-checks.js'
import type { Tables } from './tables.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

interface Reference {
  table: string
  column: string
  /** Whether the mapped table has the referenced rows: it is that table, a part of it, or a view over it. */
  isMapped: boolean
  /** The same table, not a view over it, so that the names of columns can be compared. */
  isSame: boolean
  /** Whether no table is known behind a view: it may be over a function, or a table of another server. */
  isOpaque: boolean
}

/**
 * Checks that the tokens refer to the mapped users table and its id. Those of another table or column, such as of a second registration, would
 * open the accounts with the same ids.
 * @throws `FST_TOKEN_AUTH_MISSING_TABLES`
 */
export async function checkForeignKey (db: Kysely<any>, { map }: Tables): Promise<void> {
  const [users, tokens] = [quoteTable(map.users), quoteTable(map.tokens)]
  for (const { table, column, isMapped, isSame, isOpaque } of await readReferences(db, users, tokens)) {
    if (!isMapped && !isOpaque) {
      throw new MISSING_TABLES(`The tokens table ${tokens} belongs to the users table ${table}, but users.table is ${users}: give each users table a tokens table of its own with the option token.table`)
    }
    const { id } = map.users.columns
    if (isSame && column !== id) {
      throw new MISSING_TABLES(`The tokens table ${tokens} refers to the column ${quoteName(column)} of ${users}, but users.columns.id is "${id}": map that column, or set token.table to a new table`)
    }
  }
}

// `base`: the mapped relation, the tables behind a view, and the tables that these are a part of. A reference to a partitioned table has further
// constraints, one for each partition, with a parent.
async function readReferences (db: Kysely<any>, users: string, tokens: string): Promise<Reference[]> {
  const fields = jsonRow({
    table: sql`k.confrelid::pg_catalog.regclass::text`,
    column: sql`target.attname`,
    isMapped: sql`exists (select from base where base.oid = k.confrelid)`,
    isSame: sql`k.confrelid = pg_catalog.to_regclass(${users})`,
    isOpaque: sql`not exists (select from base join pg_catalog.pg_class c using (oid) where c.relkind in ('r', 'p'))`
  })
  return parseRows<Reference>(await check<JsonRow>(db, sql`with recursive base (oid) as (
      select pg_catalog.to_regclass(${users})::oid
      union select coalesce(d.refobjid, i.inhparent) from base
        left join pg_catalog.pg_rewrite w on w.ev_class = base.oid
        left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = w.oid and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        left join pg_catalog.pg_inherits i on i.inhrelid = base.oid
    ) select ${fields} from pg_catalog.pg_constraint k
    join pg_catalog.pg_attribute own on own.attrelid = k.conrelid and own.attnum = any (k.conkey) and own.attname = 'user_id'
    join pg_catalog.pg_attribute target on target.attrelid = k.confrelid and target.attnum = k.confkey[pg_catalog.array_position(k.conkey, own.attnum)]
    where k.contype = 'f' and k.conparentid = 0 and k.conrelid = pg_catalog.to_regclass(${tokens})`, 'tokens'))
}
