import type { Piscina } from 'piscina'
import type { BcryptTask } from './bcrypt-worker.js'
import { createInFlight } from './in-flight.js'
import type { InFlight } from './in-flight.js'

const IDLE_MS = 30_000

export interface BcryptThreads {
  hash (password: string, salt: string): Promise<string>
  compare (password: string, hash: string): Promise<boolean>
  /** Ends the threads when their work is done. A later task starts new ones. */
  close (): Promise<void>
}

export interface BcryptThreadsSettings {
  threads: number
  /** The module that the threads run. */
  worker?: string
}

interface StartedPool {
  pool: Promise<Piscina>
  tasks: InFlight
  /** Why no thread of the pool can be started. */
  failure: Error | null
}

/**
 * bcryptjs in worker threads. The first tasks start them, and they end after 30 s without a task. On the main thread one login
 * would block the event loop for a tenth of a second at a time, and make a healthy Redis look unreachable.
 */
export function createBcryptThreads ({ threads, worker }: BcryptThreadsSettings): BcryptThreads {
  let started: StartedPool | null = null

  async function createPool (starting: Omit<StartedPool, 'pool'>): Promise<Piscina> {
    // Loaded here, because a process that checks no password does not need it.
    const { Piscina } = await import('piscina')
    const pool = new Piscina({ filename: worker ?? new URL('./bcrypt-worker.js', import.meta.url).href, minThreads: 0, maxThreads: threads, idleTimeout: IDLE_MS })
    // Without a listener, a thread that cannot be loaded (a bundler may leave its file out) would end the process.
    pool.on('error', (error) => giveUp(starting, pool, error))
    return pool
  }

  function start (): StartedPool {
    const starting = { tasks: createInFlight(), failure: null }
    return Object.assign(starting, { pool: createPool(starting) })
  }

  // Tasks in the queue would wait for ever. The pool is kept while it has other threads; otherwise a later task starts a new one.
  function giveUp (failed: Omit<StartedPool, 'pool'>, pool: Piscina, { message }: Error): void {
    if (pool.threads.length > 0) return
    failed.failure ??= new Error(`bcrypt's threads cannot be started: ${message}`)
    if (started === failed) started = null
    pool.destroy()
  }

  async function run (task: BcryptTask): Promise<unknown> {
    const current = started ??= start()
    try {
      return await current.tasks.track(current.pool.then((pool) => pool.run(task)))
    } catch (error) {
      throw current.failure ?? error
    }
  }

  return {
    hash: async (password, salt) => await run({ password, salt }) as string,
    compare: async (password, hash) => await run({ password, hash }) as boolean,
    async close () {
      const closing = started
      started = null
      // Piscina's own close drops the tasks in its queue.
      await closing?.tasks.settled()
      const pool = await closing?.pool
      await pool?.destroy()
    }
  }
}
