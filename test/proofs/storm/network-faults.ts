import type { LostAnswer, TcpProxy } from '../../helpers/tcp-proxy.js'
import type { Fault, Heal } from './faults.js'
import type { Random } from './random.js'

type Way = 'redis' | 'postgres'

function between (way: Way, begin: (proxy: TcpProxy, random: Random) => void): Fault {
  return async ({ cluster }, random) => {
    const proxy = random.pick(cluster.members)[way]
    begin(proxy, random)
    return proxy.pass
  }
}

// The network may drop a connection that is held back for long: then the data sent on it never arrives.
function muffled (way: Way, begin: (proxy: TcpProxy) => void): Fault {
  return async ({ cluster }, random) => {
    const proxy = random.pick(cluster.members)[way]
    begin(proxy)
    if (random.next() < 0.5) return proxy.pass
    return () => {
      proxy.reset()
      proxy.pass()
    }
  }
}

function losing (way: Way, lost: LostAnswer): Fault {
  return async ({ cluster }, random) => {
    const asking = cluster.members.filter(({ origin }) => origin !== null)
    if (asking.length === 0) throw new Error('no server is up')
    const proxy = random.pick(asking)[way]
    const before = proxy.lostAnswers
    proxy.loseAnswer(lost)
    return Object.assign(() => proxy.pass(), { strikes: () => proxy.lostAnswers - before }) satisfies Heal
  }
}

const isCommit = (chunk: Buffer) => chunk.includes('commit')
/** A write in a transaction, or one that commits implicitly. */
const isWrite = (chunk: Buffer) => /\b(insert into|update|delete from) "/.test(chunk.toString('latin1'))
/** The value of a SET, or an argument of a script. */
const isTombstone = (chunk: Buffer) => /\r\nR[\w-]{43}\r\n/.test(chunk.toString('latin1'))

function common (way: Way): Record<string, Fault> {
  return {
    [`a server cut from ${way}`]: between(way, (proxy) => proxy.cut()),
    [`a server's ${way} half open`]: between(way, (proxy) => proxy.freeze()),
    [`a server unheard by ${way}`]: muffled(way, (proxy) => proxy.freeze('request')),
    [`a server deaf to ${way}`]: muffled(way, (proxy) => proxy.freeze('reply')),
    [`a server's ${way} half closed by the server`]: between(way, (proxy) => proxy.halfClose('request')),
    [`a server's ${way} half closed by ${way}`]: between(way, (proxy) => proxy.halfClose('reply')),
    [`a server's ${way} slow`]: between(way, (proxy, random) => proxy.delay(random.pick([5, 40, 150, 300]))),
    [`a server's ${way} broken in mid-reply`]: between(way, (proxy, random) => proxy.cutReplies(random.between(1, 3000))),
    [`a server's ${way} reset`]: between(way, (proxy) => proxy.reset())
  }
}

/** Faults between one server and Redis. */
export const REDIS_WAY_FAULTS: Record<string, Fault> = {
  ...common('redis'),
  'a server cut from redis as it sends a tombstone': losing('redis', { to: isTombstone, at: 'sending' }),
  'a server without the answer to a tombstone': losing('redis', { to: isTombstone, at: 'answering' })
}

/** Faults between one server and PostgreSQL. */
export const POSTGRES_WAY_FAULTS: Record<string, Fault> = {
  ...common('postgres'),
  'a server cut from postgres as it sends a commit': losing('postgres', { to: isCommit, at: 'sending' }),
  'a server without the answer to a commit': losing('postgres', { to: isCommit, at: 'answering' }),
  'a server cut from postgres as it sends a write': losing('postgres', { to: isWrite, at: 'sending' }),
  'a server without the answer to a write': losing('postgres', { to: isWrite, at: 'answering' })
}
