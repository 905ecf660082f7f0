import { Agent, request } from 'node:http'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { createTokenFormat } from '../../../lib/crypto/token.js'
import type { Cluster, Member } from './cluster.js'
import { outcomeOf } from './history.js'
import type { Kind, Operation } from './history.js'
import type { Profiles } from './profiles.js'

/** A user as the clients see it, which may be wrong: the checker uses only the history. */
export interface StormUser {
  name: string
  id: string
  /** The first password and every one that a client has tried to set. */
  passwords: string[]
  /** The password that was valid when it was last used. */
  password: string
  /** Tokens that may be live. */
  live: number[]
  /** Whether the user may be deleted. */
  isMortal: boolean
}

/** The texts and session ids of tokens, by their number in the history. */
export type Tokens = { text: string, sessionId: string | null }[]

export interface Storm {
  cluster: Cluster
  /** All users, including those who are deleted or not used yet. */
  users: StormUser[]
  /** The users that the clients currently use. */
  present: StormUser[]
  /** The users that replace deleted ones. */
  reserve: StormUser[]
  tokens: Tokens
  history: Operation[]
  /** The most recently ended tokens of all users. */
  ended: Named[]
  profiles: Profiles
}

export interface Named { user: string, token: number }

export type Intent = Pick<Operation, 'kind' | 'user' | 'token' | 'target' | 'password' | 'newPassword' | 'ttlMs' | 'scopes' | 'version'>

export interface Reply { status: number | null, body: any }

/** A request without an answer after this time has none: it is longer than all deadlines of the server together. */
const PATIENCE_MS = 12_000

const READS = new Set<Kind>(['read', 'fresh', 'orders'])

const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const format = createTokenFormat({ prefix: 'fta', randomBytes })

/** Closes the clients' idle connections. */
export function closeClients (): void {
  agent.destroy()
}

/** Sends a request of a client. A missing answer has the status `null`. */
export function send (origin: string, method: string, path: string, token: string | null, body: unknown): Promise<Reply> {
  return new Promise((resolve) => {
    const lost = () => resolve({ status: null, body: null })
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const headers = {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) })
    }
    const sent = request(`${origin}${path}`, { method, agent, headers, signal: AbortSignal.timeout(PATIENCE_MS) }, (reply) => {
      let text = ''
      reply.setEncoding('utf8').on('data', (chunk) => { text += chunk }).on('error', lost).on('end', () => {
        resolve({ status: reply.statusCode!, body: text === '' ? null : JSON.parse(text) })
      })
    })
    sent.on('error', lost).end(payload)
  })
}

function userOf ({ users }: Storm, name: string): StormUser {
  return users.find((user) => user.name === name)!
}

/** Sends the request of an operation. */
function askFor (storm: Storm, origin: string, { kind, user, token, target, password, newPassword, ttlMs: ttl, scopes }: Intent): Promise<Reply> {
  const { tokens } = storm
  const text = token === undefined ? null : tokens[token]!.text
  const { id } = userOf(storm, user)
  const asks: Record<Kind, () => Promise<Reply>> = {
    read: () => send(origin, 'GET', '/protected', text, undefined),
    fresh: () => send(origin, 'GET', '/fresh', text, undefined),
    orders: () => send(origin, 'GET', '/orders', text, undefined),
    forged: () => send(origin, 'GET', '/protected', format.create(), undefined),
    login: () => send(origin, 'POST', '/auth/login', null, { username: user, password }),
    issue: () => send(origin, 'POST', '/test/issue-token', null, { userId: id, ttl, scopes }),
    logout: () => send(origin, 'POST', '/auth/logout', text, undefined),
    'logout-all': () => send(origin, 'POST', '/auth/logout-all', text, undefined),
    change: () => send(origin, 'POST', '/auth/change-password', text, { currentPassword: password, newPassword }),
    'delete-session': () => send(origin, 'DELETE', `/auth/sessions/${tokens[target!]!.sessionId}`, text, undefined),
    deactivate: () => send(origin, 'POST', '/test/set-active', null, { userId: id, active: false }),
    activate: () => send(origin, 'POST', '/test/set-active', null, { userId: id, active: true }),
    'delete-user': () => send(origin, 'POST', '/test/delete-user', null, { userId: id }),
    refresh: () => send(origin, 'POST', '/test/refresh-user', null, { userId: id })
  }
  return asks[kind]()
}

/** Performs one operation at a server and records it; resolves to `null` if that server is down. */
export async function perform (storm: Storm, { index, origin }: Member, intent: Intent): Promise<Operation | null> {
  if (origin === null) return await pause(10, null)
  if (intent.newPassword !== undefined) userOf(storm, intent.user).passwords.push(intent.newPassword)
  const invokedAt = performance.now()
  const { status, body } = await askFor(storm, origin, intent)
  const completedAt = performance.now()
  const operation: Operation = { ...intent, process: index, invokedAt, completedAt, outcome: outcomeOf(status), status }
  Object.assign(operation, findings(storm, intent.kind, { status, body }))
  storm.history.push(operation)
  learn(storm, operation)
  return operation
}

/** The fields of an operation that its answer determines. */
function findings ({ tokens }: Storm, kind: Kind, { status, body }: Reply): Partial<Operation> {
  if (body?.code === 'FST_TOKEN_AUTH_INSUFFICIENT_SCOPE') return { isBeyondScope: true }
  if (status !== 200 || kind === 'forged') return {}
  if (kind === 'refresh') return { isRefreshed: body.isRefreshed }
  if (READS.has(kind)) return { seen: body.username, version: body.version }
  const { token: text, sessionId = null, expiresAt, user } = body
  return { issued: tokens.push({ text, sessionId }) - 1, expiresAtMs: Date.parse(expiresAt), seen: user.username }
}

function learn (storm: Storm, operation: Operation): void {
  const user = userOf(storm, operation.user)
  const { kind, outcome, issued, token, target, password, newPassword } = operation
  const giveUp = (given: (number | undefined)[]) => {
    const tokens = given.filter((token) => token !== undefined)
    user.live = user.live.filter((live) => !tokens.includes(live))
    if (operation.status === 401) return
    storm.ended = [...tokens.map((token): Named => ({ user: user.name, token })), ...storm.ended].slice(0, 20)
  }
  if (kind === 'logout' || operation.status === 401) giveUp([token])
  if (kind === 'delete-session' && outcome === 'ok') giveUp([target])
  if (outcome === 'ok' && ['logout-all', 'change', 'deactivate', 'delete-user'].includes(kind)) giveUp(user.live.filter((live) => live !== issued))
  if (outcome === 'ok' && kind === 'login') user.password = password!
  if (outcome === 'ok' && kind === 'change') user.password = newPassword!
  if (issued !== undefined) user.live.push(issued)
  if (outcome === 'ok' && kind === 'delete-user') replace(storm, user)
}

function replace ({ present, reserve }: Storm, gone: StormUser): void {
  const place = present.indexOf(gone)
  if (place !== -1) present.splice(place, 1, ...reserve.splice(0, 1))
}
