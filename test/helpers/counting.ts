import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { Test } from 'tap'
import { PreparedClient } from '../../lib/index.js'
import { redisUrl } from './services.js'

/** A pool that keeps the text of every statement it sends. */
export function countingPool (t: Test, connectionString: string, more: pg.PoolConfig = {}): { pool: pg.Pool, statements: string[] } {
  const statements: string[] = []
  class CountingClient extends PreparedClient {
    override query (...args: any[]): any {
      if (typeof args[0] === 'string') statements.push(args[0])
      return super.query(...args)
    }
  }
  const pool = new pg.Pool({ connectionString, Client: CountingClient, ...more })
  // The database may be dropped under an idle connection at the end.
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return { pool, statements }
}

export interface RedisWatch {
  redis: Redis
  /** Others' commands that named a key of the namespace since the last call; each as `'get'`, `'eval'`, ... */
  take (): Promise<string[]>
}

/** Watches a namespace with MONITOR; other tests' keys don't count. */
export async function watchRedis (t: Test, namespace: string): Promise<RedisWatch> {
  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  const [, own] = /\baddr=(\S+)/.exec(String(await redis.client('INFO'))) ?? []
  let seen: string[] = []
  let marks = 0
  const waiting = new Map<string, () => void>()
  await monitor(t, redis, (source, args) => {
    // Commands inside a script are shown too, with the source "lua".
    if (source !== 'lua' && source !== own && args.some((arg) => arg.startsWith(namespace))) seen.push(args[0]!.toLowerCase())
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

// ioredis' own monitor() throws where another client's command comes in one packet with the acknowledgement.
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

/** Polls until the condition holds; fails after a minute, which is none of what it shows. */
export async function until (condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 60_000
  while (!await condition()) {
    if (performance.now() > deadline) throw new Error(`did not happen within 60 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
