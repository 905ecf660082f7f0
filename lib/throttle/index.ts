import type { Logger } from '../ports.js'
import type { FailureCounters } from './failure-counters.js'
import type { Settings } from '../options/read.js'
import type { RedisClient } from '../redis/client.js'
import { createCounters } from './counters.js'
import type { AttemptCommands } from './redis-counters.js'
import { monotonicNow } from '../tools/monotonic.js'

/** Opens the counters of failed logins: in Redis if there is one, and otherwise in this process. No I/O. */
export function openCounters ({ cache: { namespace }, accountLimit }: Settings, redis: RedisClient | null, logger: Logger): FailureCounters {
  return createCounters({
    redis: redis as unknown as AttemptCommands | null,
    namespace,
    localRules: accountLimit?.local ?? null,
    logger,
    monotonicNow
  })
}
