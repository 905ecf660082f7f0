import { Piscina } from 'piscina'
import type { BcryptTask } from './bcrypt-worker.js'
import { createInFlight } from './under-way.js'

const IDLE_MS = 30_000

export interface BcryptThreads {
  hash (password: string, salt: string): Promise<string>
  compare (password: string, hash: string): Promise<boolean>
  /** Ends the threads when their work is done; a later task starts them again. */
  close (): Promise<void>
}

export interface BcryptThreadsSettings {
  threads: number
  /** The module of the threads. */
  worker?: string
}

/** A pool, and why no thread of it can be started. */
interface Started { pool: Piscina, failure: Error | null }

const WORKER = new URL('./bcrypt-worker.js', import.meta.url).href

/**
 * bcryptjs in worker threads, started by the first tasks and ended after 30 s without one. On the main thread one login
 * would hold up everything else for a tenth of a second at a time, and make a healthy Redis look dead.
 */
export function createBcryptThreads ({ threads, worker = WORKER }: BcryptThreadsSettings): BcryptThreads {
  let started: Started | null = null
  let underWay = createInFlight()

  function start (): Started {
    underWay = createInFlight()
    const pool = new Piscina({ filename: worker, minThreads: 0, maxThreads: threads, idleTimeout: IDLE_MS })
    const starting: Started = { pool, failure: null }
    // Nobody else listens: a thread that cannot be loaded, as where a bundler left its file out, would end the process.
    pool.on('error', (error) => giveUp(starting, error))
    return starting
  }

  // What waits for a thread would wait for ever. While other threads live they go on; a later task starts a pool anew.
  function giveUp (failed: Started, { message }: Error): void {
    if (failed.pool.threads.length > 0) return
    failed.failure ??= new Error(`bcrypt's threads cannot be started: ${message}`)
    if (started === failed) started = null
    failed.pool.destroy()
  }

  async function run (task: BcryptTask): Promise<unknown> {
    const current = started ??= start()
    try {
      return await underWay.track(current.pool.run(task))
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
      // piscina's own close drops what waits for a thread.
      await underWay.settled()
      await closing?.pool.destroy()
    }
  }
}
