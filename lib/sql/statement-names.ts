import { codeOf } from './errors.js'

/** Names of prepared statements, common to all clients of a pool. */
export interface StatementNames {
  /** The current name of the statement; `undefined`: send it without a name. */
  of (name: string): string | undefined
  /** Whether the error means that the name is unusable, so that another is tried. */
  areVoidedBy (error: unknown, generation: number): boolean
  readonly generation: number
}

/** The statement does not exist on the connection, exists already, or is another one: because of a pooler, or because it was deallocated. */
const NAME_IS_LOST = new Set(['26000', '42P05', '08P01'])
const UNSUPPORTED = '0A000'

/** Uses no names any more once one was lost. After a change of a column's type, all statements are prepared again under other names. */
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
