import { Piscina } from 'piscina'
import { OVERLOADED } from '../errors.js'
import { createSemaphore } from '../concurrency/semaphore.js'
import type { BcryptTask } from './bcrypt-worker.js'

const THREADS = 2
const IDLE_MS = 30_000

export interface BcryptThreads {
  hash (password: string, salt: string): Promise<string>
  compare (password: string, hash: string): Promise<boolean>
  /** Ends the threads; a later task starts them again. */
  close (): Promise<void>
}

/**
 * bcryptjs in two worker threads, started by the first task. On the main thread one login would
 * hold up everything else for a tenth of a second at a time, and make a healthy Redis look dead.
 */
export function createBcryptThreads (): BcryptThreads {
  const places = createSemaphore({ concurrency: THREADS, queue: 64, maxWaitMs: 5000, overloaded: () => new OVERLOADED() })
  let pool: Piscina | null = null

  async function run (task: BcryptTask): Promise<unknown> {
    return await places.run(async () => {
      pool ??= new Piscina({
        filename: new URL('./bcrypt-worker.js', import.meta.url).href,
        minThreads: 0,
        maxThreads: THREADS,
        idleTimeout: IDLE_MS
      })
      return await pool.run(task)
    })
  }

  return {
    hash: async (password, salt) => await run({ password, salt }) as string,
    compare: async (password, hash) => await run({ password, hash }) as boolean,
    async close () {
      const closing = pool
      pool = null
      await closing?.close()
    }
  }
}
