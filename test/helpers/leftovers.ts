import { createHook } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import { Redis } from 'ioredis'
import pg from 'pg'
import { redisUrl } from './services.js'
import { until } from './until.js'

/** Resources that can be left open. getActiveResourcesInfo() does not list unref'd timers. */
const KINDS = ['Timeout', 'TCPWRAP', 'TCPSERVERWRAP', 'PIPEWRAP', 'PROCESSWRAP', 'GETADDRINFOREQWRAP', 'WORKER', 'MESSAGEPORT', 'FSEVENTWRAP']

/** Tracks the resources that this process opens. `end` stops tracking, and rejects with a list of those that are not closed and where they were opened. */
export function watchHandles (): { end: () => Promise<void> } {
  const open = new Map<number, string>()
  let isWatching = true
  const hook = createHook({
    init (id, type) {
      if (isWatching && KINDS.includes(type)) open.set(id, `${type} of ${new Error().stack!.split('\n').slice(2).join('\n')}`)
    },
    destroy (id) { open.delete(id) }
  }).enable()
  return {
    async end () {
      isWatching = false
      const left = () => [...open.values()]
      await until(() => open.size === 0, 'everything is closed')
        .catch((error) => { throw new Error([error.message, ...left()].join('\n')) })
        .finally(() => hook.disable())
    }
  }
}

/** Resources that keep this process running and did not before, as Node.js reports them. Additional ones of the same kind count too. */
export function resourcesSince (before: readonly string[]): string[] {
  const known = [...before]
  return process.getActiveResourcesInfo().filter((name) => {
    const at = known.indexOf(name)
    if (at >= 0) known.splice(at, 1)
    return at < 0 && name !== 'Immediate'
  })
}

/** The number of listeners for each event of each emitter. */
export function countListeners (emitters: Record<string, EventEmitter>): Record<string, number> {
  const counts = Object.entries(emitters).flatMap(([name, emitter]) => {
    return emitter.eventNames().map((event): [string, number] => [`${name}: ${String(event)}`, emitter.listenerCount(event)])
  })
  return Object.fromEntries(counts.sort())
}

/** The number of connections to the database with this application name. */
export async function databaseConnections (url: string, applicationName: string): Promise<number> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query('select count(*)::int from pg_stat_activity where application_name = $1', [applicationName])
    return rows[0].count
  } finally {
    await client.end()
  }
}

/** The number of connections to the tests' Redis whose name begins with `connectionName`. */
export async function redisConnections (connectionName: string): Promise<number> {
  return await withRedis(async (redis) => String(await redis.client('LIST')).split(` name=${connectionName}`).length - 1)
}

/** Keys of a namespace in the tests' Redis without an expiry. Lists and other types come from the tests themselves. */
export async function lastingKeys (namespace: string): Promise<string[]> {
  const match = `${namespace.replace(/[\\*?[\]]/g, '\\$&')}*`
  return await withRedis(async (redis) => {
    const lasting: string[] = []
    for await (const keys of redis.scanStream({ match, count: 1000, type: 'string' })) {
      for (const key of keys as string[]) if (await redis.pttl(key) === -1) lasting.push(key)
    }
    return lasting
  })
}

async function withRedis<Result> (work: (redis: Redis) => Promise<Result>): Promise<Result> {
  const redis = new Redis(redisUrl())
  try {
    return await work(redis)
  } finally {
    redis.disconnect()
  }
}
