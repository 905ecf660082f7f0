import { Agent, request } from 'node:http'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { createTokenFormat } from '../../../lib/tokens/token.js'
import type { Cluster, Member } from './cluster.js'
import { outcomeOf } from './history.js'
import type { Kind, Operation } from './history.js'
import type { Random } from './random.js'

/** A user as the clients know it: perhaps wrongly, the checker believes only the history. */
export interface StormUser {
  name: string
  id: string
  /** Every password that was ever tried to set, the first one included. */
  passwords: string[]
  /** The one that was last seen to be in force. */
  password: string
  /** Tokens that may be live. */
  live: number[]
}

/** Tokens by their number in the history: texts and sessions. */
export type Tokens = { text: string, sessionId: string | null }[]

export interface Storm {
  cluster: Cluster
  users: StormUser[]
  tokens: Tokens
  history: Operation[]
  /** The latest tokens that ended, of whichever user. */
  ended: { user: string, token: number }[]
}

type Intent = Pick<Operation, 'kind' | 'user' | 'token' | 'target' | 'password' | 'newPassword' | 'final'>

interface Reply { status: number | null, body: any }

/** No answer after so long is none: longer than every deadline of the server together. */
const PATIENCE_MS = 12_000

const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const format = createTokenFormat({ prefix: 'fta', randomBytes })

/** Closes the clients' idle connections. */
export function closeClients (): void {
  agent.destroy()
}

function send (origin: string, method: string, path: string, token: string | null, body: unknown): Promise<Reply> {
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

/** How an operation is asked for. */
function askFor (storm: Storm, origin: string, { kind, user, token, target, password, newPassword }: Intent): Promise<Reply> {
  const { tokens } = storm
  const text = token === undefined ? null : tokens[token]!.text
  const { id } = userOf(storm, user)
  const asks: Record<Kind, () => Promise<Reply>> = {
    read: () => send(origin, 'GET', '/protected', text, undefined),
    fresh: () => send(origin, 'GET', '/fresh', text, undefined),
    forged: () => send(origin, 'GET', '/protected', format.create(), undefined),
    login: () => send(origin, 'POST', '/auth/login', null, { username: user, password }),
    logout: () => send(origin, 'POST', '/auth/logout', text, undefined),
    'logout-all': () => send(origin, 'POST', '/auth/logout-all', text, undefined),
    change: () => send(origin, 'POST', '/auth/change-password', text, { currentPassword: password, newPassword }),
    'delete-session': () => send(origin, 'DELETE', `/auth/sessions/${tokens[target!]!.sessionId}`, text, undefined),
    deactivate: () => send(origin, 'POST', '/test/set-active', null, { userId: id, active: false }),
    activate: () => send(origin, 'POST', '/test/set-active', null, { userId: id, active: true })
  }
  return asks[kind]()
}

/** Does one operation at a server and writes it down; `null` if that server is down. */
export async function perform (storm: Storm, { index, origin }: Member, intent: Intent): Promise<Operation | null> {
  if (origin === null) return await pause(10, null)
  if (intent.newPassword !== undefined) userOf(storm, intent.user).passwords.push(intent.newPassword)
  const invokedAt = performance.now()
  const { status, body } = await askFor(storm, origin, intent)
  const completedAt = performance.now()
  const operation: Operation = { ...intent, process: index, invokedAt, completedAt, outcome: outcomeOf(status), status }
  if ((intent.kind === 'read' || intent.kind === 'fresh') && status === 200) operation.seen = body.username
  if ((intent.kind === 'login' || intent.kind === 'change') && status === 200) {
    operation.issued = storm.tokens.push({ text: body.token, sessionId: null }) - 1
    operation.seen = body.user.username
  }
  storm.history.push(operation)
  learn(storm, operation)
  return operation
}

function learn (storm: Storm, operation: Operation): void {
  const user = userOf(storm, operation.user)
  const { kind, outcome, issued, token, target, password, newPassword } = operation
  const giveUp = (given: (number | undefined)[]) => {
    const tokens = given.filter((token) => token !== undefined)
    user.live = user.live.filter((live) => !tokens.includes(live))
    if (operation.final === true || operation.status === 401) return
    storm.ended = [...tokens.map((token) => ({ user: user.name, token })), ...storm.ended].slice(0, 20)
  }
  if (kind === 'logout' || operation.status === 401) giveUp([token])
  if (kind === 'delete-session' && outcome === 'ok') giveUp([target])
  if (outcome === 'ok' && ['logout-all', 'change', 'deactivate'].includes(kind)) giveUp(user.live.filter((live) => live !== issued))
  if (outcome === 'ok' && kind === 'login') user.password = password!
  if (outcome === 'ok' && kind === 'change') user.password = newPassword!
  if (issued !== undefined) user.live.push(issued)
}

const WEIGHTS = { read: 44, ended: 20, fresh: 5, forged: 1, login: 12, 'old-login': 2, logout: 6, 'logout-all': 2, change: 3, 'delete-session': 2, deactivate: 1 }

/** A client: does one thing after another until `isOver()`. What it does is the seed's choice, given the answers. */
export async function runClient (storm: Storm, random: Random, isOver: () => boolean): Promise<void> {
  const { members } = storm.cluster
  const anywhere = () => random.pick(members)
  let changes = 0

  async function login (user: StormUser): Promise<void> {
    const isSure = random.next() < 0.8
    const operation = await perform(storm, anywhere(), { kind: 'login', user: user.name, password: isSure ? user.password : random.pick(user.passwords.slice(user.passwords.indexOf(user.password))) })
    if (operation?.issued !== undefined) await learnSession(operation.issued, operation.process)
  }

  // The session's id, for its deletion: not an operation of its own.
  async function learnSession (token: number, process: number): Promise<void> {
    if (random.next() > 0.3) return
    const { origin } = members[process]!
    if (origin === null) return
    const { status, body } = await send(origin, 'GET', '/auth/me', storm.tokens[token]!.text, undefined)
    if (status === 200) storm.tokens[token]!.sessionId = body.session.id
  }

  // An answer of 503 is retried, perhaps elsewhere; after an answer the token is tried everywhere.
  async function end (intent: Intent, tokens: number[]): Promise<void> {
    // Read before, so that there is something in the caches to end; or meanwhile, so that a slow reader may overtake the end.
    const read = async () => { if (tokens.length > 0) await probe(intent.user, tokens) }
    const reading = read()
    if (random.next() < 0.5) await reading
    let operation = await perform(storm, anywhere(), intent)
    for (let tries = 0; tries < 2 && operation?.outcome === 'unavailable' && random.next() < 0.7; tries++) {
      operation = await perform(storm, anywhere(), intent)
    }
    await reading
    if (operation?.outcome === 'ok') await read()
  }

  async function probe (user: string, tokens: number[]): Promise<void> {
    const token = random.pick(tokens)
    await Promise.all(random.shuffle(members).map((member) => perform(storm, member, { kind: 'read', user, token })))
  }

  async function change (user: StormUser, token: number): Promise<void> {
    const { name } = user
    const other = random.pick(user.live)
    await probe(name, [other])
    const operation = await changeTo(user, { token, password: user.password }, anywhere())
    if (operation?.outcome === 'ok') return await probe(name, [other])
    if (operation?.outcome !== 'unavailable') return
    // As the answer advises: log in with the new one. And change again, elsewhere, which ends all once more.
    const elsewhere = random.pick(members.filter(({ index }) => index !== operation.process))
    const again = await perform(storm, elsewhere, { kind: 'login', user: name, password: operation.newPassword! })
    if (again?.issued === undefined) return
    const second = await changeTo(user, { token: again.issued, password: operation.newPassword! }, elsewhere)
    if (second?.outcome === 'ok') await probe(name, [other])
  }

  async function changeTo ({ name }: StormUser, from: { token: number, password: string }, member: Member): Promise<Operation | null> {
    const newPassword = `number ${name.slice(4)} has password ${changes++}.${random.between(0, 1e9)}`
    return await perform(storm, member, { kind: 'change', user: name, ...from, newPassword })
  }

  async function deactivate (user: StormUser): Promise<void> {
    const { name, live } = user
    await end({ kind: 'deactivate', user: name }, live)
    await perform(storm, anywhere(), { kind: 'login', user: name, password: user.password })
    for (let tries = 0; tries < 5; tries++) {
      const operation = await perform(storm, anywhere(), { kind: 'activate', user: name })
      if (operation?.outcome === 'ok') return
    }
  }

  async function act (): Promise<unknown> {
    const user = random.pick(storm.users)
    const { name } = user
    const choice = random.weighted(WEIGHTS)
    if (choice === 'forged') return await perform(storm, anywhere(), { kind: 'forged', user: name })
    if (choice === 'old-login') return await perform(storm, anywhere(), { kind: 'login', user: name, password: random.pick(user.passwords) })
    if (choice === 'deactivate') return await deactivate(user)
    if (choice === 'ended' && storm.ended.length > 0) return await perform(storm, anywhere(), { kind: random.next() < 0.9 ? 'read' : 'fresh', ...random.pick(storm.ended) })
    if (choice === 'login' || user.live.length === 0) return await login(user)
    const token = random.pick(user.live)
    if (choice === 'logout' || choice === 'logout-all') return await end({ kind: choice, user: name, token }, choice === 'logout' ? [token] : user.live)
    if (choice === 'change') return await change(user, token)
    if (choice === 'delete-session') {
      const target = random.pick(user.live)
      if (storm.tokens[target]!.sessionId !== null) return await end({ kind: choice, user: name, token, target }, [target])
    }
    return await perform(storm, anywhere(), { kind: choice === 'fresh' ? 'fresh' : 'read', user: name, token })
  }

  while (!isOver()) await act()
}
