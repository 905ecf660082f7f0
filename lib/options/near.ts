import type { ClientConfig } from 'pg'
import { INVALID_OPTION } from '../errors.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { Values } from './table.js'

export interface NearSettings {
  leaseMs: number
  max: number
  leaseRedis: boolean
  /** For `LISTEN`; `null`: one like that of `database`. */
  connection: ClientConfig | null
}

/** `null`: off. */
export function nearSettings (values: Values, { cache }: AuthPluginOptions): NearSettings | null {
  if (!cache?.near) return null
  if (values.redis === null && values['cache.near.leaseRedis']) throw new INVALID_OPTION('cache.near.leaseRedis must be false without redis')
  if (values.redis !== null && values['cache.near.connection'] !== null) throw new INVALID_OPTION('cache.near.connection must be omitted with redis: servers notify each other through Redis')
  return { leaseMs: values['cache.near.lease'], max: values['cache.near.max'], leaseRedis: values['cache.near.leaseRedis'], connection: values['cache.near.connection'] }
}
