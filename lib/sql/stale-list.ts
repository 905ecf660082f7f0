import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { StalePage, TokenStore } from '../ports.js'
import { monotonicNow } from '../tools/monotonic.js'
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
  async function readPage ({ order, isAfter }: typeof LATEST_FIRST, after: RawBuilder<unknown> | null, limit: number): Promise<StaleRow[]> {
    const isNext = after === null ? sql`true` : sql`(stale_at, id) ${isAfter} ${after}`
    const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ digest: digestHex, revoked: sql`revoked_at is not null`, position })}
      from ${tables.tokens} where stale_at > ${since} and expires_at > now() and ${isNext}
      order by stale_at ${order}, id ${order} limit ${sql.lit(limit)}`.execute(db))
    return parseRows<StaleRow>(rows)
  }

  /** Returns the number of pages. */
  async function * readPages (direction: typeof LATEST_FIRST, start: RawBuilder<unknown> | null, limit: number): AsyncGenerator<StalePage, number> {
    let after = start
    let pages = 0
    let lastOfFull: StaleRow | undefined
    do {
      const rows = await readPage(direction, after, limit)
      yield toPage(rows)
      pages++
      lastOfFull = rows[limit - 1]
      if (lastOfFull !== undefined) after = toPosition(lastOfFull)
    } while (lastOfFull !== undefined)
    return pages
  }

  // A row that is dated again between two pages moves ahead of both. Forwards, it cannot move behind the reader.
  return async function * listStale (limit) {
    const startedAtMs = monotonicNow()
    const pages = yield * readPages(LATEST_FIRST, null, limit)
    if (pages === 1) return
    yield * readPages(EARLIEST_FIRST, sql`(${ago(monotonicNow() - startedAtMs + TRANSACTION_MS)}, ${NO_ID}::uuid)`, limit)
  }
}

// Explicit, because the cast of a timestamp to text depends on settings of the session.
const position = sql<string>`pg_catalog.to_char(stale_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || id`

function toPosition ({ position }: StaleRow): RawBuilder<unknown> {
  const [instant, id] = position.split(' ')
  return sql`(${instant}::timestamptz, ${id}::uuid)`
}

function toPage (rows: readonly StaleRow[]): StalePage {
  const digestsOf = (isRevoked: boolean) => rows.filter(({ revoked }) => revoked === isRevoked).map(toDigest)
  return { revoked: digestsOf(true), refreshed: digestsOf(false) }
}
