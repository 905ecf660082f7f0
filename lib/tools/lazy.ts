export interface Lazy<Value> {
  /** Makes the value at the first call and shares it with all others. A failure is not kept: the next call tries again. */
  get (): Promise<Value>
  /** The value; `null` until it is made. */
  readonly value: Value | null
}

/** A value that is made when it is first needed. */
export function lazy<Value> (make: () => Promise<Value>): Lazy<Value> {
  let making: Promise<Value> | null = null
  let value: Value | null = null

  async function attempt (): Promise<Value> {
    try {
      value = await make()
      return value
    } catch (error) {
      making = null
      throw error
    }
  }

  return {
    get () {
      making ??= Promise.resolve().then(attempt)
      return making
    },
    get value () { return value }
  }
}
