import type { RedisClient } from './client.js'

/** What the client puts before every key, and the number of its database. A cluster has one database. */
export function placeOf ({ options }: RedisClient): { keyPrefix: string, db: number } {
  return { keyPrefix: options.keyPrefix ?? '', db: ('db' in options && options.db) || 0 }
}
