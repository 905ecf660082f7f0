import { Piscina } from 'piscina'
import type { BcryptTask } from './bcrypt-worker.js'
import { createUnderWay } from './under-way.js'

const IDLE_MS = 30_000

export interface BcryptThreads {
  hash (password: string, salt: string): Promise<string>
  compare (password: string, hash: string): Promise<boolean>
  /** Ends the threads when their work is done; a later task starts them again. */
  close (): Promise<void>
}

/**
 * bcryptjs in worker threads, started by the first tasks and ended after 30 s without one. On the main thread one login
 * would hold up everything else for a tenth of a second at a time, and make a healthy Redis look dead.
 */
export function createBcryptThreads ({ threads }: { threads: number }): BcryptThreads {
  let pool: Piscina | null = null
  let underWay = createUnderWay()

  function start (): Piscina {
    underWay = createUnderWay()
    return new Piscina({
      filename: new URL('./bcrypt-worker.js', import.meta.url).href,
      minThreads: 0,
      maxThreads: threads,
      idleTimeout: IDLE_MS
    })
  }

  async function run (task: BcryptTask): Promise<unknown> {
    pool ??= start()
    return await underWay.track(pool.run(task))
  }

  return {
    hash: async (password, salt) => await run({ password, salt }) as string,
    compare: async (password, hash) => await run({ password, hash }) as boolean,
    async close () {
      const closing = pool
      pool = null
      // piscina's own close drops what waits for a thread.
      await underWay.settled()
      await closing?.destroy()
    }
  }
}
