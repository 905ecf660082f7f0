import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { StalePage, TokenStore } from '../ports.js'
import { TRANSACTION_MS } from '../tools/stale-window.js'
import { ago, digestHex, staleSince, toDigest } from './codec.js'
import type { Sql } from './gateway.js'
import type { Tables } from './tables.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

interface StaleRow { digest: string, revoked: boolean, position: string }

const LATEST_FIRST = { order: sql`desc`, isAfter: sql`<` }
const EARLIEST_FIRST = { order: sql`asc`, isAfter: sql`>` }

const NO_ID = '00000000-0000-0000-0000-000000000000'

export function createStaleList ({ read }: Pick<Sql, 'read'>, tables: Tables, cacheTtlMs: number): TokenStore['listStale'] {
  const since = staleSince(tables, cacheTtlMs)

  // Expired tokens are in no cache: entries end with their token.
  async function readPage ({ order, isAfter }: typeof LATEST_FIRST, after: string | null, limit: number): Promise<StaleRow[]> {
    const isNext = after === null ? sql`true` : sql`(stale_at, id) ${isAfter} ${toPosition(after)}`
    const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ digest: digestHex, revoked: sql`revoked_at is not null`, position: positionOf(sql`stale_at`, sql`id`) })}
      from ${tables.tokens} where stale_at > ${since} and expires_at > now() and ${isNext}
      order by stale_at ${order}, id ${order} limit ${sql.lit(limit)}`.execute(db))
    return parseRows<StaleRow>(rows)
  }

  async function * readPages (direction: typeof LATEST_FIRST, start: string | null, limit: number): AsyncGenerator<StalePage, void> {
    let after = start
    let rows: StaleRow[]
    do {
      rows = await readPage(direction, after, limit)
      after = rows.at(-1)?.position ?? null
      yield toPage(rows)
    } while (rows.length === limit)
  }

  async function readStart (): Promise<string> {
    const { rows } = await read((db) => sql<{ position: string }>`select ${positionOf(ago(TRANSACTION_MS), sql.lit(NO_ID))} as position`.execute(db))
    return rows[0]!.position
  }

  // A row that is dated again between two pages moves ahead of both. Forwards, it cannot move behind the reader.
  return async function * listStale (limit) {
    const start = await readStart()
    yield * readPages(LATEST_FIRST, null, limit)
    yield * readPages(EARLIEST_FIRST, start, limit)
  }
}

// Explicit, because the cast of a timestamp to text depends on settings of the session.
function positionOf (instant: RawBuilder<unknown>, id: RawBuilder<unknown>): RawBuilder<string> {
  return sql<string>`pg_catalog.to_char((${instant}) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || ${id}`
}

function toPosition (position: string): RawBuilder<unknown> {
  const [instant, id] = position.split(' ')
  return sql`(${instant}::timestamptz, ${id}::uuid)`
}

function toPage (rows: readonly StaleRow[]): StalePage {
  const digestsOf = (isRevoked: boolean) => rows.filter(({ revoked }) => revoked === isRevoked).map(toDigest)
  return { revoked: digestsOf(true), refreshed: digestsOf(false) }
}
