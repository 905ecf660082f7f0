import { codeOf } from './errors.js'

/** Names of prepared statements, common to all clients of a pool. */
export interface StatementNames {
  /** The name for the statement; `undefined`: send it without a name. */
  of (name: string): string | undefined
  /** Whether the error means that names are unusable. From then on none is used. */
  areVoidedBy (error: unknown): boolean
}

/** The statement does not exist on the connection, exists already, or is another one: because of a pooler, or because it was deallocated. */
const NAME_IS_LOST = new Set(['26000', '42P05', '08P01'])

export function createStatementNames (): StatementNames {
  let isLost = false
  return {
    of: (name) => isLost ? undefined : name,
    areVoidedBy (error) {
      const isVoid = NAME_IS_LOST.has(codeOf(error))
      isLost ||= isVoid
      return isVoid
    }
  }
}
