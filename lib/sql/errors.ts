import { DATABASE_REFUSED, DATABASE_UNREACHABLE, INVALID_INPUT, STANDBY_DATABASE, UNAVAILABLE } from '../errors.js'

/** Serialization failure and deadlock: the transaction had no effect and can be retried. */
const RETRYABLE = new Set(['40001', '40P01'])
/** The administrator, a crash, or idle_session_timeout ended the server's process; the connection failed. */
const LOST = new Set(['57P01', '57P02', '57P05', 'ECONNRESET', 'EPIPE'])
/** Classes of malformed or out-of-range values, and of values that a constraint or a view rejects: errors of the input. */
const BAD_INPUT = new Set(['22', '23', '44'])
/** The plugin's own code for a connection to a standby. */
export const STANDBY = 'STANDBY'
const UNIQUE_VIOLATION = '23505'
/** Classes whose messages are about the server and the schema, and never contain values. */
const SAFE_CLASSES = new Set(['08', '25', '28', '3D', '40', '42', '53', '55', '57', '58'])
/** Classes of a connection that is refused: an unknown role, a wrong password, no such database. Waiting does not help. */
const REFUSED_CLASSES = new Set(['28', '3D'])
const PROTOCOL_VIOLATION = '08P01'

interface Failure { code?: unknown, message?: unknown, constraint?: unknown, table?: unknown, column?: unknown, statusCode?: unknown }

/** A description of a rejected value without the value. */
const REFUSED: Record<string, (failure: Failure) => string> = {
  22001: () => 'a value is too long for its column',
  '22P05': () => 'a character is not in the database\'s encoding',
  23001: ({ constraint }) => `the foreign key "${String(constraint)}" refuses a value`,
  23502: ({ column }) => `the column "${String(column)}" must have a value`,
  23503: ({ constraint }) => `the foreign key "${String(constraint)}" refuses a value`,
  23505: ({ constraint }) => `the unique index "${String(constraint)}" refuses a value`,
  23514: ({ constraint }) => `the check "${String(constraint)}" refuses a value`,
  '23P01': ({ constraint }) => `the exclusion constraint "${String(constraint)}" refuses a value`,
  44000: () => 'the check option of a view refuses a value',
  P0001: () => 'a trigger refuses a value'
}

export function isRetryable (error: unknown): boolean {
  return RETRYABLE.has(codeOf(error))
}

/** Whether the connection broke during a statement, which may or may not have run. A failure to connect does not count. */
export function isLost (error: unknown): boolean {
  return LOST.has(codeOf(error)) || isNetworkError(error) || /^Connection terminated( unexpectedly)?$|is not queryable$/.test(String((error as Failure)?.message))
}

/** Errors of a connection that was never made. */
const NOT_CONNECTED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'ENOENT', '08001', '08004'])

// Whatever the network calls it: ECONNABORTED, ETIMEDOUT, EHOSTUNREACH, a TLS alert, or what a pooler says of its own connection (08P01).
function isNetworkError (error: unknown): boolean {
  const { syscall } = (error ?? {}) as { syscall?: unknown }
  return /^(E[A-Z]{3,}|ERR_(SSL|TLS)_\w+|08...)$/.test(codeOf(error)) && !NOT_CONNECTED.has(codeOf(error)) && syscall !== 'connect'
}

/** Whether the client had already ended before it got the statement, which therefore had no effect. */
export function isClosed (error: unknown): boolean {
  return (error as Failure | null)?.message === 'Client was closed and is not queryable'
}

export function isUniqueViolation (error: unknown): boolean {
  return codeOf(error) === UNIQUE_VIOLATION
}

export function codeOf (error: unknown): string {
  const { code } = (error ?? {}) as Failure
  return typeof code === 'string' ? code : ''
}

/** Whether the database could not be reached, as opposed to having rejected the statement. */
export function isUnreachable (error: unknown): boolean {
  const code = codeOf(error)
  if (code === '') return /timeout exceeded|terminated/.test(String((error as Failure)?.message))
  return code.length !== 5 || !['22', '23', '42'].includes(code.slice(0, 2))
}

/** The driver's error without parts that may be secret: detail, where, parameters and, if it quotes values, the message. */
export function redactValues (error: unknown): Error {
  const { message, constraint, table, column } = (error ?? {}) as Failure
  const code = codeOf(error)
  const isSafe = code.length !== 5 || SAFE_CLASSES.has(code.slice(0, 2))
  const own = isSafe && typeof message === 'string' && message !== '' ? message : 'the database refused the statement'
  const text = REFUSED[code]?.({ column, constraint }) ?? own
  return Object.assign(new Error(text), { name: 'DatabaseError', code, constraint, table, column })
}

/** An error of the plugin, with the driver's error as cause, without values. */
export function toOwnError (error: unknown): Error {
  if (isOwn(error)) return error
  if (BAD_INPUT.has(codeOf(error).slice(0, 2))) return invalidInput(error)
  return new UNAVAILABLE({ cause: redactValues(error) })
}

/** What a value should have been, for values that are no column's, such as an id. From a list, because the rest of the message may quote the value. */
const TYPE = /for type (uuid|smallint|integer|bigint|inet)\b/
const REJECTED = 'it is missing, out of range, or contains a character that cannot be stored'

/** The error of a rejected value, without the value. */
export function invalidInput (error: unknown, message?: string): Error {
  const [, type] = TYPE.exec(String((error as Failure).message)) ?? []
  const reason = type === undefined ? REJECTED : `it is not a valid ${type}`
  return new INVALID_INPUT(message ?? `The database rejected a value: ${reason}`, { cause: redactValues(error) })
}

function isOwn (error: unknown): error is Error {
  return typeof (error as Failure)?.statusCode === 'number'
}

export function unreachable (reason: string): Error {
  return new DATABASE_UNREACHABLE(`The database cannot be reached (${reason})`)
}

/** The error of a start that failed on the database. */
export function asStartError (error: unknown): Error {
  if (isOwn(error)) return error
  if (codeOf(error) === STANDBY) return new STANDBY_DATABASE()
  const redacted = redactValues(error)
  if (isRefused(error)) return new DATABASE_REFUSED(redacted.message)
  return isUnreachable(error) ? unreachable(reasonOf(error, redacted)) : redacted
}

// Without a code it is an error of pg itself, such as of a server without TLS.
function isRefused (error: unknown): boolean {
  const code = codeOf(error)
  return REFUSED_CLASSES.has(code.slice(0, 2)) || code === PROTOCOL_VIOLATION || (code === '' && !isUnreachable(error))
}

// If a host name has several addresses, the error of a connection has only a code.
function reasonOf (error: unknown, { message }: Error): string {
  const code = codeOf(error)
  if ((error as Failure | null)?.message === '') return code
  return code === '' || message.includes(code) ? message : `${code}: ${message}`
}
