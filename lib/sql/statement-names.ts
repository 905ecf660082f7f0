import { codeOf } from './errors.js'

/** Names of prepared statements, of all clients of a pool. */
export interface StatementNames {
  /** The name to prepare it under now; `undefined`: none. */
  of (name: string): string | undefined
  /** Whether the error says that the name is no good, so that another is tried. */
  areVoidedBy (error: unknown, generation: number): boolean
  readonly generation: number
}

/** There is no such statement on the connection, there is already, or there is another: a pooler is in between, or somebody has dropped it. */
const NAME_IS_LOST = new Set(['26000', '42P05', '08P01'])
const UNSUPPORTED = '0A000'

/** Finds no name again once one was lost. After a change of a column's type, all are prepared anew, under other names. */
export function createStatementNames (): StatementNames {
  let isLost = false
  let generation = 0
  return {
    of: (name) => isLost ? undefined : `${name}${generation === 0 ? '' : `_${generation}`}`,
    areVoidedBy (error, used) {
      if (isStalePlan(error)) generation = Math.max(generation, used + 1)
      else if (NAME_IS_LOST.has(codeOf(error))) isLost = true
      else return false
      return true
    },
    get generation () { return generation }
  }
}

// "cached plan must not change result type". The message is translated, the name of PostgreSQL's own function is not.
function isStalePlan (error: unknown): boolean {
  return codeOf(error) === UNSUPPORTED && (error as { routine?: unknown }).routine === 'RevalidateCachedQuery'
}
