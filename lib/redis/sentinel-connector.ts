import { createConnection } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { SentinelConnector } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { openSentinels } from './sentinels.js'
import type { Address, SentinelAnswer, Sentinels } from './sentinels.js'

/** How long to wait for the other Sentinels after the first answer. A newer answer from a slower one is handled later. */
const GRACE_MS = 100

/**
 * Connects to the master in the newest answer of the Sentinels, and drops the connection when a newer answer names another.
 * The connector of ioredis takes the first answer, and leaves it to the old master to close the connection: a master that hung does so
 * about ten seconds after it wakes up. A class, because ioredis calls it with `new`.
 */
export class NewestMasterConnector extends SentinelConnector {
  readonly #options: RedisOptions
  #sentinels: Sentinels | undefined
  /** Sentinels from the last answer: used if none of the configured ones answers. */
  #others: Address[] = []

  constructor (options: unknown) {
    super(options as RedisOptions)
    this.#options = options as RedisOptions
  }

  override async connect (emit: (event: string, error: Error) => void): Promise<Socket> {
    this.connecting = true
    const sentinels = this.#sentinels = openSentinels(this.#options)
    sentinels.open([...this.#options.sentinels!, ...this.#others])
    try {
      const answer = await this.#find(sentinels, emit)
      this.#others = answer.others
      sentinels.open(answer.others)
      return this.#open(sentinels, answer)
    } catch (error) {
      sentinels.close()
      throw error
    }
  }

  override disconnect (): void {
    super.disconnect()
    this.#sentinels?.close()
  }

  async #find (sentinels: Sentinels, emit: (event: string, error: Error) => void): Promise<SentinelAnswer> {
    let answer = await this.#ask(sentinels)
    for (let attempt = 1; answer === null; attempt++) {
      const error = new Error('No Sentinel names the master')
      const retryMs = this.#options.sentinelRetryStrategy?.(attempt)
      if (typeof retryMs !== 'number') throw error
      emit('error', error)
      await pause(retryMs)
      answer = await this.#ask(sentinels)
    }
    return answer
  }

  async #ask (sentinels: Sentinels): Promise<SentinelAnswer | null> {
    const answer = await newestOf(sentinels)
    if (!this.connecting) throw new Error('Connection is closed.')
    return answer
  }

  #open (sentinels: Sentinels, { master, epoch }: SentinelAnswer): Socket {
    const { enableTLSForSentinelMode, tls } = this.#options
    const stream = enableTLSForSentinelMode === true && tls !== undefined ? connectTls({ ...master, ...tls }) : createConnection(master)
    this.stream = stream
    stream.once('error', (error) => { this.firstError = error })
    stream.once('close', sentinels.close)
    sentinels.watch((answer) => {
      // At the connection, the Sentinel may not have been connected to the others yet.
      if (answer.others.length > 0) this.#others = answer.others
      if (answer.epoch <= epoch) return
      epoch = answer.epoch
      // Not `end()`: a server that hangs would not close its side.
      if (!isSame(answer.master, master)) stream.destroy()
    })
    return stream
  }
}

function isSame (one: Address, other: Address): boolean {
  return one.host === other.host && one.port === other.port
}

function newestOf (sentinels: Sentinels): Promise<SentinelAnswer | null> {
  let newest: SentinelAnswer | null = null
  return new Promise((resolve) => {
    const finish = () => resolve(newest)
    sentinels.ask((answer) => {
      if (newest === null) setTimeout(finish, GRACE_MS).unref()
      if (newest === null || answer.epoch > newest.epoch) newest = answer
    }).then(finish)
  })
}
