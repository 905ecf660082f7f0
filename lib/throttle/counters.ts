import { LRUCache } from 'lru-cache'
import { createBreaker } from '../tools/breaker.js'
import { onceAnOutage } from '../tools/quiet-log.js'
import type { Logger } from '../ports.js'
import type { AttemptRules, FailureCounters } from './failure-counters.js'
import type { Now } from '../../types/options.js'
import { redactCommand } from '../redis/errors.js'
import { createMemoryCounters } from './memory-counters.js'
import { createAttemptId, createRedisCounters } from './redis-counters.js'
import type { AttemptCommands } from './redis-counters.js'

export interface CountersSettings {
  /** `null`: counts are this process's. */
  redis: AttemptCommands | null
  namespace: string
  /** Replaces the rules of an attempt while Redis does not count; `null`: no change. */
  localRules: AttemptRules | null
  logger: Logger
  monotonicNow: Now
}

/** Prefix of the ids of attempts that were counted in this process. */
const LOCAL = 'local:'
/** Maximum number of outcomes kept for Redis; more are left to the lease of their attempts. */
const MOST_UNSETTLED = 10_000

/** The counters in Redis; while it does not answer, those of this process, with stricter rules. Never unlimited. Never rejects. */
export function createCounters ({ redis, namespace, localRules, logger, monotonicNow }: CountersSettings): FailureCounters {
  const local = createMemoryCounters({ now: monotonicNow })
  if (redis === null) return local
  const shared = createRedisCounters({ client: redis, namespace })
  const unsettled = createUnsettled()
  const ask = createAsk({ logger, monotonicNow, onAnswer: unsettled.send })

  async function takeLocal (key: string, rules: AttemptRules, owner?: string) {
    const attempt = await local.take(key, localRules ?? rules, owner)
    return { ...attempt, id: LOCAL + attempt.id }
  }

  // Without an answer it is unknown whether the attempt was counted: it is taken back later.
  async function takeShared (key: string, rules: AttemptRules, owner?: string) {
    const id = createAttemptId()
    try {
      return await shared.take(key, rules, owner, id)
    } catch (error) {
      unsettled.keep(id, () => shared.giveBack(key, id))
      throw error
    }
  }

  async function settle (verb: 'giveBack' | 'fail', key: string, id: string): Promise<void> {
    const localId = localIdOf(id)
    if (localId !== null) return await local[verb](key, localId)
    const send = () => shared[verb](key, id)
    await ask(send, async () => unsettled.keep(id, send))
  }

  return {
    take: (key, rules, owner) => ask(() => takeShared(key, rules, owner), () => takeLocal(key, rules, owner)),
    giveBack: (key, id) => settle('giveBack', key, id),
    fail: (key, id) => settle('fail', key, id),
    // An attempt that was not counted has nothing to take back.
    async succeed (key, id, owner) {
      const localId = localIdOf(id)
      await local.succeed(key, localId, owner)
      const sharedId = localId === null ? id : null
      const send = () => shared.succeed(key, sharedId, owner)
      await ask(send, async () => unsettled.keep(`${key} ${id}`, send))
    },
    // Claims made here before or during an outage of Redis stay claimed here.
    useOnce: async (key, ttlMs) => await local.useOnce(key, ttlMs) && await ask(() => shared.useOnce(key, ttlMs), async () => true)
  }
}

/** Outcomes of attempts that Redis did not receive: sent again when it answers. Otherwise they would count as under way until their lease ends. */
function createUnsettled () {
  const outcomes = new LRUCache<string, () => Promise<void>>({ max: MOST_UNSETTLED })
  const keep = (id: string, send: () => Promise<void>): void => { outcomes.set(id, send) }

  return {
    keep,
    send () {
      for (const [id, send] of [...outcomes.entries()]) {
        outcomes.delete(id)
        send().catch(() => keep(id, send))
      }
    }
  }
}

interface AskSettings { logger: Logger, monotonicNow: Now, onAnswer: () => void }

/** Sends commands until they fail, and then one at times; in between `instead` answers. */
function createAsk ({ logger, monotonicNow, onAnswer }: AskSettings) {
  const breaker = createBreaker({ now: monotonicNow })
  const outage = onceAnOutage((error: Error) => logger.warn({ reason: redactCommand(error).message }, 'Redis does not count failed logins: they are counted in this process'))

  return async function ask<Result> (command: () => Promise<Result>, instead: () => Promise<Result>): Promise<Result> {
    if (!breaker.allows()) return await instead()
    try {
      const result = await command()
      breaker.succeeded()
      outage.succeeded()
      onAnswer()
      return result
    } catch (error) {
      breaker.failed()
      outage.failed(error as Error)
      return await instead()
    }
  }
}

/** `null`: it was counted in Redis, or nowhere. */
function localIdOf (id: string | null): string | null {
  return id?.startsWith(LOCAL) === true ? id.slice(LOCAL.length) : null
}
