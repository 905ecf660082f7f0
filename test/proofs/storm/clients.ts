import { setTimeout as pause } from 'node:timers/promises'
import { perform, send } from './asking.js'
import type { Intent, Storm, StormUser } from './asking.js'
import type { Member } from './cluster.js'
import type { Operation } from './history.js'
import type { Random } from './random.js'

const WEIGHTS = {
  read: 40, orders: 5, ended: 20, brief: 1.5, fresh: 5, forged: 1, login: 10, 'old-login': 2, issue: 5, logout: 6, 'logout-all': 2, change: 3, 'delete-session': 2, deactivate: 1.5, 'delete-user': 0.5, refresh: 2
}
const SCOPES = [undefined, undefined, ['orders'], ['auth'], ['auth', 'orders'], ['other'], []]

/** A client that performs one operation after another until `isOver()`. The seed and the answers determine its choices. */
export async function runClient (storm: Storm, random: Random, isOver: () => boolean): Promise<void> {
  const { members } = storm.cluster
  const anywhere = () => random.pick(members)
  let changes = 0

  async function login (user: StormUser): Promise<void> {
    const isSure = random.next() < 0.8
    const operation = await perform(storm, anywhere(), { kind: 'login', user: user.name, password: isSure ? user.password : random.pick(user.passwords.slice(user.passwords.indexOf(user.password))) })
    if (operation?.issued !== undefined) await learnSession(operation.issued, operation.process)
  }

  // Gets the session's id for its deletion. This is not a separate operation.
  async function learnSession (token: number, process: number): Promise<void> {
    if (random.next() > 0.3) return
    const { origin } = members[process]!
    if (origin === null) return
    const { status, body } = await send(origin, 'GET', '/auth/me', storm.tokens[token]!.text, undefined)
    if (status === 200) storm.tokens[token]!.sessionId = body.session.id
  }

  async function issue ({ name: user }: StormUser, isBrief = random.next() < 0.3): Promise<Operation | null> {
    const life = isBrief ? { ttlMs: random.between(1000, 3000) } : {}
    return await perform(storm, anywhere(), { kind: 'issue', user, ...life, scopes: random.pick(SCOPES) })
  }

  // A 503 is retried, perhaps at another server. After a definite answer the token, and one that was issued meanwhile, is tried at every server.
  async function end (intent: Intent, tokens: number[], meanwhile = async (): Promise<Operation | null> => null): Promise<void> {
    // Reads before, so that the caches have an entry, or concurrently, so that the revocation may overtake a slow reader.
    const read = async () => { if (tokens.length > 0) await probe(intent.user, tokens) }
    const reading = read()
    if (random.next() < 0.5) await reading
    const issuing = meanwhile()
    let operation = await perform(storm, anywhere(), intent)
    for (let tries = 0; tries < 2 && operation?.outcome === 'unavailable' && random.next() < 0.7; tries++) {
      operation = await perform(storm, anywhere(), intent)
    }
    await reading
    const issued = (await issuing)?.issued
    if (operation?.outcome !== 'ok') return
    await read()
    if (issued !== undefined) await probe(intent.user, [issued])
  }

  async function probe (user: string, tokens: number[]): Promise<void> {
    const token = random.pick(tokens)
    await Promise.all(random.shuffle(members).map((member) => perform(storm, member, { kind: 'read', user, token })))
  }

  async function change (user: StormUser, token: number): Promise<void> {
    const { name } = user
    const other = random.pick(user.live)
    await probe(name, [other])
    const { password } = user
    // A concurrent login uses the old password.
    const login = random.next() < 0.5 ? perform(storm, anywhere(), { kind: 'login', user: name, password }) : null
    const operation = await changeTo(user, { token, password }, anywhere())
    const issued = (await login)?.issued
    if (operation?.outcome === 'ok') return await probe(name, issued === undefined ? [other] : [issued])
    if (operation?.outcome !== 'unavailable') return
    // As the error advises, logs in with the new password. Then changes it again at another server, which ends all sessions once more.
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
    await end({ kind: 'deactivate', user: name }, live, random.next() < 0.5 ? () => issue(user) : undefined)
    await perform(storm, anywhere(), { kind: 'login', user: name, password: user.password })
    for (let tries = 0; tries < 5; tries++) {
      const operation = await perform(storm, anywhere(), { kind: 'activate', user: name })
      if (operation?.outcome === 'ok') return
    }
  }

  async function remove (user: StormUser): Promise<void> {
    await end({ kind: 'delete-user', user: user.name }, user.live)
    await perform(storm, anywhere(), { kind: 'login', user: user.name, password: user.password })
  }

  async function refresh ({ name, id, live }: StormUser): Promise<void> {
    if (live.length > 0) await probe(name, live)
    const version = await storm.profiles.raise(id)
    if (version === null) return
    const operation = await perform(storm, anywhere(), { kind: 'refresh', user: name, version })
    if (operation?.isRefreshed === true && live.length > 0) await probe(name, live)
  }

  // Reads a token at one server, which may have it cached, until after its expiry.
  async function outlive (whose: StormUser): Promise<void> {
    const operation = await issue(whose, true)
    if (operation?.issued === undefined) return
    const { user, issued: token, ttlMs, completedAt } = operation
    const member = anywhere()
    do {
      await perform(storm, member, { kind: 'read', user, token })
      await pause(100)
    } while (performance.now() < completedAt + ttlMs!)
    for (let more = 0; more < 3; more++) await perform(storm, member, { kind: more === 2 ? 'fresh' : 'read', user, token })
  }

  async function act (): Promise<unknown> {
    const user = random.pick(storm.present)
    const { name } = user
    const choice = random.weighted(WEIGHTS)
    if (choice === 'forged') return await perform(storm, anywhere(), { kind: 'forged', user: name })
    if (choice === 'old-login') return await perform(storm, anywhere(), { kind: 'login', user: name, password: random.pick(user.passwords) })
    if (choice === 'deactivate') return await deactivate(user)
    const mortals = storm.present.filter(({ isMortal }) => isMortal)
    if (choice === 'delete-user' && mortals.length > 0) return await remove(random.pick(mortals))
    if (choice === 'ended' && storm.ended.length > 0) return await perform(storm, anywhere(), { kind: random.next() < 0.9 ? 'read' : 'fresh', ...random.pick(storm.ended) })
    if (choice === 'brief') return await outlive(user)
    if (choice === 'refresh') return await refresh(user)
    if (choice === 'issue') return await issue(user)
    if (choice === 'login' || user.live.length === 0) return await login(user)
    const token = random.pick(user.live)
    if (choice === 'logout' || choice === 'logout-all') return await end({ kind: choice, user: name, token }, choice === 'logout' ? [token] : user.live)
    if (choice === 'change') return await change(user, token)
    if (choice === 'delete-session') {
      const target = random.pick(user.live)
      if (storm.tokens[target]!.sessionId !== null) return await end({ kind: choice, user: name, token, target }, [target])
    }
    return await perform(storm, anywhere(), { kind: choice === 'fresh' || choice === 'orders' ? choice : 'read', user: name, token })
  }

  while (!isOver()) await act()
}
