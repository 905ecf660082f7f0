import pg from 'pg'
import type { Test } from 'tap'

/** Changes a column of the host that every read returns, as a host does before `refreshUser`. */
export interface Profiles {
  /** Resolves to the version that it has written, or to `null` if the write failed or its result is unknown. */
  raise (userId: string): Promise<number | null>
}

/** Uses separate connections, which faults between a server and PostgreSQL do not affect. */
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
