import pg from 'pg'
import type { Test } from 'tap'

/** Changes what `refreshUser` is for: a column of the host's, which every read shows. */
export interface Profiles {
  /** Resolves to the version that it has written; `null` where it does not know of one. */
  raise (userId: string): Promise<number | null>
}

/** By connections of its own, which no fault between a server and PostgreSQL is in the way of. */
export function createProfiles (t: Test, connectionString: string): Profiles {
  const pool = new pg.Pool({ connectionString, max: 4, connectionTimeoutMillis: 2000, statement_timeout: 2000, lock_timeout: 500 })
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return {
    async raise (userId) {
      try {
        const { rows } = await pool.query('update users set version = version + 1 where id = $1 returning version', [userId])
        return rows[0]?.version ?? null
      } catch {
        return null
      }
    }
  }
}
