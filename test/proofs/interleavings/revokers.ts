import type { Ports } from './bench.js'
import { createServices, loginCrowded, restart } from './world.js'
import type { Services, World } from './world.js'

export interface Revoker {
  run: (services: Services, world: World) => Promise<unknown>
  /** How many calls it has made when its transaction has committed, and the cache is not told. */
  commits: number
  /** What makes the revocation final after a crash: asking for it again, or the server's next start. */
  retry: 'again' | 'restart'
  /** How many of the tokens that overlapping logins with the old password have got are accepted when all have returned; `null`: either. */
  logins: 'all' | 'none' | null
}

const origin = { ip: null, userAgent: null, requestId: null }

/** Every way to revoke. They end the state's first token; where a session asks for the end of all, it is the second. */
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

/** The server dies when it has committed. The revocation has not returned before it is asked for again. */
export async function crashAndRevoke (revoker: Revoker, world: World): Promise<void> {
  const crash = new Promise<void>((resolve) => {
    const ports = dyingAfter(revoker.commits, world.ports, resolve)
    revoker.run(createServices(ports, { ...world, ports }), { ...world, ports })
  })
  await crash
  await (revoker.retry === 'again' ? revoke(revoker, world) : restart(world))
}

/** A server that dies on its way from the database to the cache, and nobody asks for the revocation again. */
export async function dyingLogout (world: World): Promise<void> {
  await new Promise<void>((resolve) => {
    const ports = dyingAfter(1, world.ports, resolve)
    createServices(ports, { ...world, ports }).sessions.logout(world.state.digest, origin)
  })
}

/** Ports of a process that ends in the place of its next call. */
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
