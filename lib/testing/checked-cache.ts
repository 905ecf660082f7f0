import type { Digest, TokenCache } from '../../types/cache.js'
import { refuse } from '../options/rules.js'

type Done = Parameters<TokenCache['get']>[1]
type Promising = Exclude<keyof TokenCache, 'get' | 'onConnection'>

const METHODS: (keyof TokenCache)[] = ['get', 'getOrLease', 'fill', 'tombstone', 'drop', 'holdsTombstone', 'onConnection', 'close']

/**
 * The same cache, but a call that does not answer as the port requires throws. In the plugin a request would hang or fail instead.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the missing method
 */
export function checkedCache (cache: TokenCache): TokenCache {
  if (Object(cache) !== cache) refuse('what createCache gives', 'a TokenCache', cache)
  for (const name of METHODS) {
    if (typeof cache[name] !== 'function') refuse(`the cache's ${name}`, 'a method', cache[name])
  }
  return {
    get: (digest, done) => mustReturnNothing(cache.get(digest, (error, value) => answer(done, error, value))),
    getOrLease: promising(cache, 'getOrLease'),
    fill: promising(cache, 'fill'),
    tombstone: promising(cache, 'tombstone'),
    drop: promising(cache, 'drop'),
    holdsTombstone: promising(cache, 'holdsTombstone'),
    onConnection: cache.onConnection.bind(cache),
    close: promising(cache, 'close')
  }
}

/** Calls `get` and returns a promise. */
export function get (cache: TokenCache, digest: Digest): Promise<string | null> {
  return new Promise((resolve, reject) => cache.get(digest, (error, value) => error === null ? resolve(value) : reject(error)))
}

function answer (done: Done, error: unknown, value: unknown): void {
  if (error instanceof Error) done(error, null)
  else if (error !== null) done(new TypeError(`get must call back with null or an Error, called back with ${typeof error}`), null)
  else if (value !== null && typeof value !== 'string') done(new TypeError(`get must find a string or null, found ${typeof value}`), null)
  else done(null, value)
}

function mustReturnNothing (returned: unknown): void {
  if (!isPromise(returned)) return
  // The mistake to report is the promise itself, not its rejection.
  returned.then(null, () => {})
  throw new TypeError('get must call back, returned a promise')
}

function promising<Name extends Promising> (cache: TokenCache, name: Name): TokenCache[Name] {
  const call = (...args: unknown[]) => {
    const returned = Reflect.apply(cache[name], cache, args)
    if (!isPromise(returned)) throw new TypeError(`${name} must return a promise, returned ${typeof returned}`)
    return returned
  }
  return call as TokenCache[Name]
}

function isPromise (value: unknown): value is Promise<unknown> {
  return typeof (value as Partial<Promise<unknown>> | null | undefined)?.then === 'function'
}
