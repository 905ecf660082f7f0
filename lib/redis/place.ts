import type { Cluster, Redis } from 'ioredis'

/** What the client puts before every key, and the number of its database. A cluster has one database. */
export function placeOf ({ options }: Redis | Cluster): { keyPrefix: string, db: number } {
  return { keyPrefix: options.keyPrefix ?? '', db: ('db' in options && options.db) || 0 }
}
