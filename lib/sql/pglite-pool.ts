import type { PostgresPool } from 'kysely'

/** The methods of a PGlite that are used. */
export interface PGliteLike {
  query (text: string, values: unknown[], options: { parsers: Record<number, (value: string) => unknown> }): Promise<{ rows: any[], affectedRows?: number }>
  close (): Promise<void>
}

/** bigint as a string, like pg. */
const PARSERS = { 20: (value: string) => value }

/** When the connection of a PGlite is free. All of its pools share it: otherwise one would send statements into the transaction of another. */
const free = new WeakMap<PGliteLike, Promise<void>>()

/**
 * A `pg.Pool` look-alike over PGlite's single connection, for Kysely's own PostgresDialect:
 * the embedded database runs the same code path as a real one. Connections are lent one at a time, whichever pool lends them.
 */
export function createPGlitePool (pglite: PGliteLike): PostgresPool {
  return {
    async connect () {
      const turn = free.get(pglite)
      let release!: () => void
      free.set(pglite, new Promise((resolve) => { release = resolve }))
      await turn
      return { query: query as never, release }
    },
    async end () {
      await free.get(pglite)
      await pglite.close()
    }
  }

  async function query (text: string, values: readonly unknown[] = []) {
    const { rows, affectedRows } = await pglite.query(text, [...values], { parsers: PARSERS })
    return { command: commandOf(text), rowCount: affectedRows as number, rows }
  }
}

function commandOf (text: string): string {
  return /^\s*(insert|update|delete|merge)\b/i.exec(text)?.[1]?.toUpperCase() ?? 'SELECT'
}
