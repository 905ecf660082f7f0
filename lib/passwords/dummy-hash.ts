import type { RandomBytes } from '../../types/options.js'
import type { Hasher } from '../../types/passwords.js'

export interface DummyHash {
  /** The hash, made by the first call. Rejects with the hasher's error, and the next call tries again. */
  ready (): Promise<string>
  /** `null` until it is made. */
  readonly made: string | null
}

/** A hash that no password matches, as strong as the hasher makes them now: what unknown users are verified against. */
export function createDummyHash ({ hasher, randomBytes }: { hasher: Pick<Hasher, 'hash'>, randomBytes: RandomBytes }): DummyHash {
  let making: Promise<string> | null = null
  let made: string | null = null

  async function make (): Promise<string> {
    try {
      made = await hasher.hash(randomBytes(16).toString('base64url'))
      return made
    } catch (error) {
      making = null
      throw error
    }
  }

  return {
    ready () {
      making ??= Promise.resolve().then(make)
      return making
    },
    get made () { return made }
  }
}
