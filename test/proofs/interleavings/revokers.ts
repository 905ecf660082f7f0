import type { Ports } from './bench.js'
import { createServices, loginCrowded, restart } from './world.js'
import type { Services, World } from './world.js'

export interface Revoker {
  run: (services: Services, world: World) => Promise<unknown>
  /** How many calls it has made when its transaction has committed and the cache is not updated yet. */
  commits: number
  /** What completes the revocation after a crash: a repeated call, or the server's next start. */
  retry: 'again' | 'restart'
  /** How many tokens of overlapping logins with the old password are accepted after all have returned; `null` if either is correct. */
  logins: 'all' | 'none' | null
}

const origin = { ip: null, userAgent: null, requestId: null }

/** Every way to revoke. Each revokes the state's first token; a call that ends all sessions is made by the second one. */
export const REVOKERS: Record<string, Revoker> = {
  logout: {
    run: ({ sessions }, { state }) => sessions.logout(state.digest, origin),
    commits: 1,
    retry: 'again',
    logins: 'all'
  },
  'logout-all': {
    run: ({ sessions }, { state }) => sessions.logoutAll(state.digests[1]!, origin),
    commits: 1,
    retry: 'again',
    logins: null
  },
  'session delete': {
    run: ({ sessions }, { state }) => sessions.end(state.userId, state.sessionId, ''),
    commits: 1,
    retry: 'again',
    logins: 'all'
  },
  'change-password': {
    run: ({ passwords }, { state }) => passwords.change({ ...state, sessionId: state.otherSessionId, currentPassword: 'old', newPassword: 'new', origin }),
    commits: 2,
    retry: 'restart',
    logins: 'none'
  },
  'setActive(false)': {
    run: ({ users }, { state }) => users.setActive(state.userId, false),
    commits: 1,
    retry: 'again',
    logins: 'none'
  },
  deleteUser: {
    run: ({ users }, { state }) => users.deleteUser(state.userId),
    commits: 1,
    retry: 'again',
    logins: 'none'
  },
  'maxPerUser trim': {
    run: async (_services, world) => await loginCrowded(world),
    commits: 2,
    retry: 'restart',
    logins: null
  }
}

export async function revoke ({ run }: Revoker, world: World): Promise<void> {
  await run(createServices(world.ports, world), world)
}

/** Crashes the server after the commit. The revocation returns only when it is repeated. */
export async function crashAndRevoke (revoker: Revoker, world: World): Promise<void> {
  const crash = new Promise<void>((resolve) => {
    const ports = dyingAfter(revoker.commits, world.ports, resolve)
    revoker.run(createServices(ports, { ...world, ports }), { ...world, ports })
  })
  await crash
  await (revoker.retry === 'again' ? revoke(revoker, world) : restart(world))
}

/** A server that crashes between the database and the cache, without a repeated call. */
export async function dyingLogout (world: World): Promise<void> {
  await new Promise<void>((resolve) => {
    const ports = dyingAfter(1, world.ports, resolve)
    createServices(ports, { ...world, ports }).sessions.logout(world.state.digest, origin)
  })
}

/** Ports of a process that ends instead of making its next call after `calls` calls. */
function dyingAfter (calls: number, ports: Ports, died: () => void): Ports {
  let made = 0
  function dying <Port extends object> (port: Port): Port {
    return new Proxy(port, {
      get: (target, key) => (...args: unknown[]) => {
        if (made++ < calls) return (Reflect.get(target, key) as (...args: unknown[]) => unknown)(...args)
        died()
        return new Promise(() => {})
      }
    })
  }
  return Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, dying(port)])) as unknown as Ports
}
