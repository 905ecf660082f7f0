import { randomUUID } from 'node:crypto'
import type { Attempt, AttemptRules, FailureCounters } from './failure-counters.js'
import { ABANDONED_MS, MOST_UNDER_WAY } from './counter.js'

/** The methods that the counters use of an ioredis client. */
export interface AttemptCommands {
  eval (script: string, keys: 1, key: string, ...args: (string | number)[]): Promise<unknown>
  set (key: string, value: string, px: 'PX', ttlMs: number, nx: 'NX'): Promise<unknown>
}

// "<failures> <when the wait ends, in Redis' milliseconds> <id of the attempt that began it> <the account they belong to, * if several>",
// then " <id>:<when it counts as failed>" of each attempt under way. The time is that of Redis: otherwise a server with a wrong clock
// would end waits early. Any other value counts as empty and is overwritten.
const READ = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local value = redis.pcall('GET', KEYS[1])
local failures, ends, startedBy, owner, rest = string.match(type(value) == 'string' and value or '', '^(%d+) (%d+) (%S*) (%S*)(.*)$')
failures, ends, startedBy, owner = tonumber(failures or 0), tonumber(ends or 0), startedBy or '', owner or ''
local underWay = {}
for id, over in string.gmatch(rest or '', ' ([^%s:]+):(%d+)') do
  if tonumber(over) > now then table.insert(underWay, { id, math.min(over, now + ${ABANDONED_MS}) }) else failures = failures + 1 end
end
local function write (...)
  local parts = { string.format('%.0f %.0f %s %s', failures, ends, startedBy, owner) }
  for _, attempt in ipairs(underWay) do table.insert(parts, string.format('%s:%.0f', attempt[1], attempt[2])) end
  redis.call('SET', KEYS[1], table.concat(parts, ' '), ...)
end`

// A wait longer than the maximum is from before the clock or the rules were set back. The bound on the exponent keeps it a number.
const TAKE = `${READ}
local free, delay, longest, forget, id, who = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local counted = failures + #underWay
if ends > now + longest then
  ends = now + longest
  write('KEEPTTL')
end
if now < ends then return { 0, counted, math.ceil(ends - now) } end
table.insert(underWay, { id, now + ${ABANDONED_MS} })
if #underWay > ${MOST_UNDER_WAY} then
  table.remove(underWay, 1)
  failures = failures + 1
end
local wait = 0
if counted + 1 >= free then
  wait = math.ceil(math.min(longest, delay * 2 ^ math.min(counted + 1 - free, 50)))
  ends, startedBy = now + wait, id
end
if counted == 0 then owner = who elseif owner ~= who then owner = '*' end
write('PX', string.format('%.0f', math.max(forget, wait + 1000)))
return { 1, counted, 0 }`

const SETTLE = `${READ}
local id, outcome, who = ARGV[1], ARGV[2], ARGV[3]
local wasUnderWay = false
for i, attempt in ipairs(underWay) do
  if attempt[1] == id then
    table.remove(underWay, i)
    wasUnderWay = true
    break
  end
end
if outcome == 'succeed' and owner == who then
  failures, ends = 0, 0
elseif outcome == 'fail' then
  if wasUnderWay then failures = failures + 1 end
elseif wasUnderWay and startedBy == id then
  ends = 0
end
if failures + #underWay == 0 then redis.call('DEL', KEYS[1]) else write('KEEPTTL') end`

export function createAttemptId (): string {
  return randomUUID()
}

export interface RedisCounters extends FailureCounters {
  /** `id` identifies the attempt even if the answer does not arrive. */
  take (key: string, rules: AttemptRules, owner?: string, id?: string): Promise<Attempt>
}

/**
 * Counters and claims that all servers share, on Redis, Sentinel or Cluster: every verb is one command on one key,
 * and every key expires. Rejects if Redis does not answer. Scripts are sent in full, like those of the cache.
 */
export function createRedisCounters ({ client, namespace }: { client: AttemptCommands, namespace: string }): RedisCounters {
  const counterOf = (key: string) => `${namespace}a:${key}`

  async function settle (key: string, id: string, outcome: 'giveBack' | 'fail' | 'succeed', owner = ''): Promise<void> {
    await client.eval(SETTLE, 1, counterOf(key), id, outcome, owner)
  }

  return {
    async take (key, { free, delayMs, maxDelayMs, forgetMs }, owner = '', id = createAttemptId()) {
      const [isAllowed, failures, waitMs] = await client.eval(TAKE, 1, counterOf(key), free, delayMs, maxDelayMs, forgetMs, id, owner) as [number, number, number]
      return { isAllowed: isAllowed === 1, failures, waitMs, id }
    },
    giveBack: (key, id) => settle(key, id, 'giveBack'),
    fail: (key, id) => settle(key, id, 'fail'),
    succeed: (key, id, owner = '') => settle(key, id ?? '', 'succeed', owner),
    async useOnce (key, ttlMs) {
      return await client.set(`${namespace}c:${key}`, '1', 'PX', Math.ceil(ttlMs), 'NX') === 'OK'
    }
  }
}
