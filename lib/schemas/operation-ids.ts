import type { Logger } from '../ports.js'

/** The operation with this prefix: `staffLogin`, but `staff_login`. */
export function prefixed (prefix: string, operationId: string): string {
  return /[A-Za-z]$/.test(prefix) ? `${prefix}${operationId[0]!.toUpperCase()}${operationId.slice(1)}` : `${prefix}${operationId}`
}

interface Operation { operationId?: string, hide?: boolean }

/** The operation ids in a document, and the registration of each. @fastify/swagger makes a new document each time. */
const documents = new WeakMap<object, Map<string, object>>()

/**
 * A check of one registration's operations: warns once if another registration has the same operation id, because the document is then not
 * valid, and code that is generated from it lacks routes.
 */
export function createIdCheck (logger: Logger): (document: object, operation?: Operation) => void {
  const own = {}
  let isReported = false
  return (document, { operationId, hide = false } = {}) => {
    if (operationId === undefined || hide) return
    const ids = documents.get(document) ?? new Map<string, object>()
    documents.set(document, ids.set(operationId, ids.get(operationId) ?? own))
    if (ids.get(operationId) === own || isReported) return
    isReported = true
    logger.warn({}, `two registrations have the operation id "${operationId}" in the OpenAPI document: give each one another openapi.operationIdPrefix; see docs/routes.md#openapi`)
  }
}
