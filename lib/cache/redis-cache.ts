import type { Digest, TokenCache } from '../../types/cache.js'
import { stallTolerantTimeout, withDeadline } from '../tools/deadline.js'
import { createSilenceWatch } from '../tools/silence.js'
import { TOMBSTONE } from './entry.js'
import type { RedisClient } from '../redis/client.js'
import { followConnection } from '../redis/connection.js'
import type { Connection, ConnectionListener } from '../redis/connection.js'
import { createReader } from '../redis/reader.js'

/** The methods that the cache uses of an ioredis client. */
export interface RedisCommands extends Connection {
  get (key: string): Promise<string | null>
  set (key: string, value: string, px: 'PX', ttlMs: number): Promise<unknown>
  del (key: string): Promise<unknown>
  eval (script: string, keys: 1, key: string, ...args: (string | number)[]): Promise<unknown>
}

// Sent in full each time (EVAL), so that a SCRIPT FLUSH or a failover cannot lose them; misses are rare.
const GET_OR_LEASE = `local value = redis.call('GET', KEYS[1])
if value then return value end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`

// The remaining life of the lease shows how long ago it was written.
const FILL = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return end
local left = ARGV[3] - (ARGV[4] - redis.call('PTTL', KEYS[1]))
if left < 1 then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', left))`

/**
 * A server that was silent for this long may have been replaced. When it wakes up, the old connection is not used any more:
 * a new one goes to the current master, and the recent revocations are written before anything is read.
 */
const SILENCE_MS = 1000

/** Tombstones of one revocation go out in chunks, so that 10 000 sessions don't fill the socket's buffer at once. */
const CHUNK = 500

export interface RedisCacheSettings {
  client: RedisCommands
  namespace: string
  /** Timeout of a read that a request waits for. Writes have the client's `commandTimeout`. */
  readTimeoutMs: number
  close: () => Promise<void>
}

/** The protocol's commands on Redis, Sentinel or Cluster: every one touches one key. */
export function createRedisCache ({ client, namespace, readTimeoutMs, close }: RedisCacheSettings): TokenCache {
  const keyOf = (digest: Digest) => `${namespace}t:${digest}`
  const silence = createSilenceWatch({ timeoutMs: SILENCE_MS, onSilent: () => renew() })
  const read = createReader(client as unknown as RedisClient)
  const listeners: ConnectionListener[] = []
  let isConnected = false
  // Counts losses and replacements: a command sent before one may be answered by a server without the latest tombstones.
  let epoch = 0

  const { moved, renew } = followConnection(client, (connected) => {
    silence.heard()
    if (isConnected) epoch++
    isConnected = connected
    for (const listener of listeners) listener(connected)
  })

  const replaced = () => new Error('Redis was replaced before it answered')

  function expired (): Error {
    silence.missed()
    return new Error(`Redis did not answer within ${readTimeoutMs} ms`)
  }

  function noted (error: Error): Error {
    if (isElsewhere(error)) moved()
    if (isTimeout(error)) silence.missed()
    if (isReply(error)) silence.heard()
    return error
  }

  async function send<Answer> (command: Promise<Answer>): Promise<Answer> {
    try {
      const answer = await command
      silence.heard()
      return answer
    } catch (error) {
      throw noted(error as Error)
    }
  }

  async function acknowledged (command: Promise<unknown>): Promise<void> {
    const answer = await send(command)
    if (answer !== 'OK') throw new Error('Redis did not acknowledge a tombstone')
  }

  return {
    get (digest, done) {
      let isOver = false
      const finish = (error: Error | null, value: string | null) => {
        if (isOver) return
        isOver = true
        cancel()
        done(error, value)
      }
      const cancel = stallTolerantTimeout(readTimeoutMs, () => finish(expired(), null))
      const since = epoch
      try {
        read(keyOf(digest), (error, value) => {
          if (error !== null) noted(error)
          else silence.heard()
          if (isForeign(error)) finish(null, FOREIGN)
          else if (error !== null) finish(error, null)
          else if (since !== epoch) finish(replaced(), null)
          else finish(null, value === null ? null : understood(digest, value))
        })
      } catch (error) {
        // ioredis throws if a Cluster has no node for the slot.
        finish(error as Error, null)
      }
    },
    async getOrLease (digest, lease, leaseMs) {
      const since = epoch
      const command = send(client.eval(GET_OR_LEASE, 1, keyOf(digest), lease, leaseMs))
        .catch((error) => isForeign(error) ? FOREIGN : Promise.reject(error))
      const value = await withDeadline(command, { timeoutMs: readTimeoutMs, expired })
      if (since !== epoch) throw replaced()
      return understood(digest, String(value))
    },
    async fill (digest, lease, value, ttlMs, leaseMs) {
      await send(client.eval(FILL, 1, keyOf(digest), lease, value, ttlMs, leaseMs))
    },
    async tombstone (digests, ttlMs) {
      await inChunks(digests, (digest) => acknowledged(client.set(keyOf(digest), tombstoneOf(digest), 'PX', ttlMs)))
    },
    async drop (digests) {
      await inChunks(digests, (digest) => send(client.del(keyOf(digest))))
    },
    async holdsTombstone (digest) {
      return await send(client.get(keyOf(digest))) === tombstoneOf(digest)
    },
    onConnection (listener) {
      listeners.push(listener)
      if (isConnected) listener(true)
    },
    close
  }
}

/** Stands for a key that does not hold a string, or holds another token's tombstone: garbage, but Redis works. */
const FOREIGN = ''

/** Contains the digest, like an entry: a crossed reply must not refuse another token. */
function tombstoneOf (digest: Digest): string {
  return TOMBSTONE + digest
}

function understood (digest: Digest, value: string): string {
  if (value[0] !== TOMBSTONE) return value
  return value === tombstoneOf(digest) ? TOMBSTONE : FOREIGN
}

function isForeign (error: Error | null): boolean {
  return error?.message.includes('WRONGTYPE') === true
}

/** A Cluster's answer that another server has the key's slot. The client does not follow it: see redis/client.ts. */
function isElsewhere (error: Error): boolean {
  return /\b(MOVED|ASK) /.test(error.message)
}

/** The error of ioredis after `commandTimeout`. */
function isTimeout (error: Error): boolean {
  return error.message === 'Command timed out'
}

/** An error reply of Redis itself. */
function isReply (error: Error): boolean {
  return error.name === 'ReplyError'
}

async function inChunks (digests: readonly Digest[], send: (digest: Digest) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < digests.length; start += CHUNK) {
    await Promise.all(digests.slice(start, start + CHUNK).map(send))
  }
}
