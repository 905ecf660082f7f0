import { randomUUID } from 'node:crypto'
import type { AttemptStore } from '../../types/ports.js'

/** What the counters ask of an ioredis client. */
export interface AttemptCommands {
  eval (script: string, keys: 1, key: string, ...args: (string | number)[]): Promise<unknown>
  set (key: string, value: string, px: 'PX', ttlMs: number, nx: 'NX'): Promise<unknown>
}

// "<failures> <when the wait ends, in Redis' milliseconds> <id of the attempt that began it> <whose they are, * of several>".
// Time is Redis' own: a server whose clock is wrong would else end waits early. What is no such text counts as nothing, and is
// written over.
const READ = `local function read ()
  local value = redis.pcall('GET', KEYS[1])
  local failures, ends, by, of = string.match(type(value) == 'string' and value or '', '^(%d+) (%d+) (%S*) (%S*)$')
  return tonumber(failures or 0), tonumber(ends or 0), by or '', of or ''
end
local function write (failures, ends, by, of, ...)
  redis.call('SET', KEYS[1], string.format('%.0f %.0f %s %s', failures, ends, by, of), ...)
end
local function giveBack (id)
  local failures, ends, by, of = read()
  if failures == 0 then return end
  if failures == 1 then return redis.call('DEL', KEYS[1]) end
  if by == id then ends = 0 end
  write(failures - 1, ends, by, of, 'KEEPTTL')
end`

// A wait longer than the longest is from before the clock or the rules were set back. The exponent's bound keeps it a number.
const TAKE = `${READ}
local free, delay, longest, forget, id, owner = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failures, ends, by, of = read()
if ends > now + longest then
  ends = now + longest
  write(failures, ends, by, of, 'KEEPTTL')
end
if now < ends then return { 0, failures, math.ceil(ends - now) } end
local wait = 0
if failures + 1 >= free then
  wait = math.ceil(math.min(longest, delay * 2 ^ math.min(failures + 1 - free, 50)))
  ends, by = now + wait, id
end
if failures == 0 then of = owner elseif of ~= owner then of = '*' end
write(failures + 1, ends, by, of, 'PX', string.format('%.0f', math.max(forget, wait + 1000)))
return { 1, failures, 0 }`

const GIVE_BACK = `${READ}
giveBack(ARGV[1])`

const RESET = `${READ}
local _, _, _, of = read()
if of == ARGV[2] then return redis.call('DEL', KEYS[1]) end
if ARGV[1] ~= '' then giveBack(ARGV[1]) end`

/**
 * Counters and claims that all servers share, on Redis, Sentinel or Cluster: every verb is one command on one key,
 * and every key has an end. Rejects where Redis does not answer. Scripts are sent whole, as the cache's are.
 */
export function createRedisAttempts ({ client, namespace }: { client: AttemptCommands, namespace: string }): AttemptStore {
  const counterOf = (key: string) => `${namespace}a:${key}`

  return {
    async take (key, { free, delayMs, maxDelayMs, forgetMs }, of = '') {
      const id = randomUUID()
      const [isAllowed, failures, waitMs] = await client.eval(TAKE, 1, counterOf(key), free, delayMs, maxDelayMs, forgetMs, id, of) as [number, number, number]
      return { isAllowed: isAllowed === 1, failures, waitMs, id }
    },
    async giveBack (key, id) {
      await client.eval(GIVE_BACK, 1, counterOf(key), id)
    },
    async reset (key, id = null, of = '') {
      await client.eval(RESET, 1, counterOf(key), id ?? '', of)
    },
    async claim (key, ttlMs) {
      return await client.set(`${namespace}c:${key}`, '1', 'PX', Math.ceil(ttlMs), 'NX') === 'OK'
    }
  }
}
