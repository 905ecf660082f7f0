import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { redisUrl } from './services.js'

export interface RedisWatch {
  redis: Redis
  /** The commands of other connections that used a key of the namespace since the last call, such as `'get'` or `'eval'`; without what servers repeat. */
  take (): Promise<string[]>
}

/** Watches a namespace with MONITOR; keys of other tests are ignored. */
export async function watchRedis (t: Test, namespace: string): Promise<RedisWatch> {
  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  const [, own] = /\baddr=(\S+)/.exec(String(await redis.client('INFO'))) ?? []
  let seen: string[] = []
  let marks = 0
  const waiting = new Map<string, () => void>()
  await monitor(t, redis, (source, args) => {
    // Commands inside a script are shown too, with the source "lua".
    if (source !== 'lua' && source !== own && args.some((arg) => arg.startsWith(namespace) && !arg.startsWith(`${namespace}server`))) seen.push(args[0]!.toLowerCase())
    waiting.get(args[1]!)?.()
  })
  return {
    redis,
    async take () {
      const mark = `mark-${namespace}${marks++}`
      const marked = new Promise<void>((resolve) => waiting.set(mark, resolve))
      await redis.echo(mark)
      await marked
      waiting.delete(mark)
      const taken = seen
      seen = []
      return taken
    }
  }
}

// ioredis' own monitor() throws if another client's command arrives in the same packet as the acknowledgment.
async function monitor (t: Test, redis: Redis, seen: (source: string, args: string[]) => void): Promise<void> {
  const client = redis.duplicate()
  t.teardown(() => client.disconnect())
  await once(client, 'ready')
  const { stream } = client
  stream.removeAllListeners('data')
  const lines = createInterface(stream)
  lines.on('line', (line) => {
    const [, source] = /^\+[\d.]+ \[\d+ (\S+)\] /.exec(line) ?? []
    if (source !== undefined) seen(source, [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, arg]) => arg!))
  })
  stream.write('MONITOR\r\n')
  await once(lines, 'line')
}
