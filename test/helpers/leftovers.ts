import { createHook } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import { Redis } from 'ioredis'
import pg from 'pg'
import { redisUrl } from './services.js'
import { until } from './until.js'

/** What can be left open. getActiveResourcesInfo() does not tell of timers that keep no process running. */
const KINDS = ['Timeout', 'TCPWRAP', 'TCPSERVERWRAP', 'PIPEWRAP', 'PROCESSWRAP', 'GETADDRINFOREQWRAP', 'WORKER', 'MESSAGEPORT', 'FSEVENTWRAP']

/** Watches what this process opens. `end` stops watching, and throws after 10 s with what is not closed, and where it was opened. */
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

/** What keeps this process running that did not before, as Node tells it; more of it counts, too. */
export function resourcesSince (before: readonly string[]): string[] {
  const known = [...before]
  return process.getActiveResourcesInfo().filter((name) => {
    const at = known.indexOf(name)
    if (at >= 0) known.splice(at, 1)
    return at < 0 && name !== 'Immediate'
  })
}

/** How many listen to each event of each emitter. */
export function countListeners (emitters: Record<string, EventEmitter>): Record<string, number> {
  const counts = Object.entries(emitters).flatMap(([name, emitter]) => {
    return emitter.eventNames().map((event): [string, number] => [`${name}: ${String(event)}`, emitter.listenerCount(event)])
  })
  return Object.fromEntries(counts.sort())
}

/** Connections to the database under that name. */
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

/** Connections to the tests' Redis whose name begins so. */
export async function redisConnections (connectionName: string): Promise<number> {
  return await withRedis(async (redis) => String(await redis.client('LIST')).split(` name=${connectionName}`).length - 1)
}

/** Keys of a namespace in the tests' Redis that nothing will ever remove. Lists and the like are planted by tests. */
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
