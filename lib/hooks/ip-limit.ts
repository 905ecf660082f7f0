import { isIPv4 } from 'node:net'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { RATE_LIMITED } from '../errors.js'
import type { Logger } from '../ports.js'
import { addressKey, clientAddress, networkList } from '../tools/client-address.js'
import { atMostEvery, onceAnOutage } from '../tools/quiet-log.js'
import { withRetryAfter } from '../tools/retry-after.js'
import { setErrorHeaders } from './error-headers.js'
import { monotonicNow } from '../tools/monotonic.js'

export interface IpLimitSettings {
  max: number
  /** Replaces `max`, in each process, while Redis does not count. */
  localMax: number
  timeWindowMs: number
  /** The ioredis client that holds the common counts; `null`: counts of this process. Typed like the option of @fastify/rate-limit. */
  redis: any
  /** Prefix of the keys in Redis: each registration of the plugin has one of its own. */
  keyPrefix: string
  /** Addresses and networks that are not limited. */
  allowList: readonly string[]
  challenge: string
  logger: Logger
  onLimited: (request: FastifyRequest) => void
}

export interface IpLimit {
  hook (request: FastifyRequest, reply: FastifyReply): Promise<void>
  close (): Promise<void>
}

interface Count { isExceeded: boolean, ttlInSeconds: number }
type Counter = (request: FastifyRequest) => Promise<Count>

/** Maximum number of addresses with in-process counts; then the least recently seen one is dropped. */
const LOCAL_ADDRESSES = 50_000

/**
 * Limits the logins of one client address (`request.ip`; IPv6 by /64) with @fastify/rate-limit.
 * It is registered on an instance of our own: on the application's instance, a registration of the application
 * would replace the store or count a second time.
 */
export async function createIpLimit ({ max, localMax, timeWindowMs, allowList, redis, keyPrefix, challenge, logger, onLimited }: IpLimitSettings): Promise<IpLimit> {
  const { default: Fastify } = await import('fastify')
  const scopes: FastifyInstance[] = []

  async function createCounter (max: number, store: object): Promise<Counter> {
    const scope = Fastify()
    scopes.push(scope)
    await scope.register(rateLimit, { ...store, max, timeWindow: timeWindowMs, global: false, keyGenerator: ({ ip }) => addressKey(ip) })
    return scope.createRateLimit() as Counter
  }

  const local = await createCounter(redis === null ? max : localMax, { cache: LOCAL_ADDRESSES })
  const shared = redis === null ? local : await createCounter(max, { redis, nameSpace: keyPrefix })

  const outage = onceAnOutage((error: Error) => logger.warn({ reason: error.name }, 'Redis does not count logins: they are counted in this process'))

  async function count (request: FastifyRequest): Promise<Count> {
    if (shared === local) return await local(request)
    try {
      const counted = await shared(request)
      outage.succeeded()
      return counted
    } catch (error) {
      outage.failed(error as Error)
      return await local(request)
    }
  }

  const isAllowed = createAllowed(allowList)
  const refused = atMostEvery(timeWindowMs, (request: FastifyRequest) => {
    logger.warn({ ip: clientAddress(request.ip), max }, 'an address has more logins than rateLimit.max: they are refused; see docs/options.md#limits')
  }, monotonicNow)
  let hasWarned = false

  // Without trust every client behind the proxy has the proxy's address, and they share one limit. A number of hops trusts nobody.
  function warnOfProxy ({ headers, ips }: FastifyRequest): void {
    if (hasWarned || headers['x-forwarded-for'] === undefined || (ips !== undefined && ips.length > 1)) return
    hasWarned = true
    logger.warn({}, 'a login came with X-Forwarded-For from an address that is not trusted: if it is your proxy, all its clients share one login limit; set trustProxy to its address, see docs/behind-a-proxy.md')
  }

  return {
    async hook (request, reply) {
      warnOfProxy(request)
      if (isAllowed(request)) return
      const { isExceeded, ttlInSeconds } = await count(request)
      if (!isExceeded) return
      refused(request)
      onLimited(request)
      const error = withRetryAfter(new RATE_LIMITED(), ttlInSeconds)
      setErrorHeaders(reply, error, challenge)
      throw error
    },
    async close () {
      await Promise.all(scopes.map((scope) => scope.close()))
    }
  }
}

function createAllowed (allowList: readonly string[]): (request: FastifyRequest) => boolean {
  if (allowList.length === 0) return () => false
  const networks = networkList(allowList)
  return ({ ip }) => {
    const address = clientAddress(ip)
    return address !== null && networks.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
  }
}
