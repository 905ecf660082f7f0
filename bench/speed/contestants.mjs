/**
 * Who is compared. `once`: each of its tokens is sent once, so that none is in a cache. The JWT cache is larger than `true` would
 * make it (1,000), so that it holds every token.
 */
const CONTESTANTS = [
  { name: 'bare', title: 'Bare route, no authentication', server: 'bare' },
  { name: 'near', title: 'fastify-token-auth, near cache', server: 'token-auth', options: { redis: true, near: true } },
  { name: 'in-process', title: 'fastify-token-auth, cache in the process', server: 'token-auth', options: {} },
  { name: 'redis', title: 'fastify-token-auth, Redis', server: 'token-auth', options: { redis: true } },
  { name: 'miss', title: 'fastify-token-auth, token in no cache', server: 'token-auth', options: { redis: true }, once: true },
  { name: 'postgres', title: 'fastify-token-auth, `fresh: true`', server: 'token-auth', options: { fresh: true } },
  { name: 'jwt', title: '@fastify/jwt HS256', server: 'jwt', options: { cache: false } },
  { name: 'jwt-cache', title: '@fastify/jwt HS256, its cache on', server: 'jwt', options: { cache: 20_000 } },
  { name: 'redis-get', title: 'Redis `GET` written by hand', server: 'redis-get' },
  { name: 'session', title: '@fastify/session, connect-redis', server: 'session' },
  { name: 'better-auth', title: 'better-auth, Redis', server: 'better-auth', options: { cookieCache: false } },
  { name: 'better-auth-cookie', title: 'better-auth, Redis, cookie cache', server: 'better-auth', options: { cookieCache: true } }
]

export const NAMES = CONTESTANTS.map(({ name }) => name)

export function readContestants (names) {
  return CONTESTANTS.filter(({ name }) => names.includes(name))
}

/** What docs/performance.md promises. */
export const TARGETS = [
  { text: 'near cache: at least 0.93 of the bare route', isMet: (ratioOf) => ratioOf('near') >= 0.93, of: ['near'] },
  { text: 'near cache: faster than every @fastify/jwt', isMet: (ratioOf) => ratioOf('near') > Math.max(ratioOf('jwt'), ratioOf('jwt-cache')), of: ['near', 'jwt', 'jwt-cache'] },
  { text: 'Redis: at least 0.75', isMet: (ratioOf) => ratioOf('redis') >= 0.75, of: ['redis'] },
  { text: 'token in no cache: at least 0.30', isMet: (ratioOf) => ratioOf('miss') >= 0.3, of: ['miss'] }
]
