import { INVALID_OPTION } from '../errors.js'
import { isConfiguration } from './handles.js'
import { refuseUnknownSettings } from './pool-settings.js'
import { refuse, unreadableUrl } from './rules.js'
import { HOST, isCutOff, NAME, optional, PASSWORD, PATH, PORT, POSTGRES_URL, REDIS_URL, TEXT } from './settings.js'
import type { Setting } from './settings.js'

/** The settings of a driver that name its server. */
interface Address {
  path: string
  url: string
  /** The setting for TLS. */
  tls: string
  settings: Record<string, Setting>
  /** One of these must be present. Empty: the driver's own variables may name the server. */
  oneOf: string[]
}

const DATABASE: Address = {
  path: 'database',
  url: 'connectionString',
  tls: 'ssl',
  // None may be undefined: pg would use a variable such as PGPASSWORD, or the user of the process.
  settings: { connectionString: POSTGRES_URL, host: HOST, port: PORT, database: NAME, user: NAME, password: PASSWORD, options: TEXT, application_name: TEXT, fallback_application_name: TEXT },
  oneOf: []
}
const REDIS: Address = { path: 'redis', url: 'url', tls: 'tls', settings: { url: REDIS_URL, host: HOST, path: PATH, port: optional(PORT) }, oneOf: ['url', 'host', 'path', 'sentinels', 'Connector'] }

/** What an address is called elsewhere, or by mistake. */
const URL_NAME = /^(ur[il]|dsn|socket|conn?e?c?tion_?(str|string|ur[il])?)$/i
const HOST_NAME = /^host_?name$/i
const TLS_NAME = /^(ssl|tls)$/i

/**
 * Refuses the configuration of a connection whose address is missing, as from an unset variable, or has another name: the driver would connect
 * to its default, this machine.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`
 */
export function refuseBadAddresses ({ database, redis }: { database: unknown, redis: unknown }): void {
  refuseBadAddress(database, DATABASE)
  if (isConfiguration(database)) refuseUnknownSettings(database)
  refuseBadAddress(redis, REDIS)
}

function refuseBadAddress (handle: unknown, address: Address): void {
  if (!isConfiguration(handle)) return
  refuseBadSettings(handle as Record<string, unknown>, address)
  refuseMisnamed(handle, address)
  const { path, url, oneOf } = address
  if (oneOf.length > 0 && !oneOf.some((name) => isSet(handle, name))) throw new INVALID_OPTION(`${path} names no server: set ${path}.${url}, or ${path}.host`)
}

function refuseBadSettings (handle: Record<string, unknown>, { path, url, settings }: Address): void {
  for (const [name, { expected, isFine, show }] of Object.entries(settings)) {
    const value = handle[name]
    if (!Object.hasOwn(handle, name) || isFine(value)) continue
    refuse(`${path}.${name}`, expected, value, value === undefined ? 'undefined, as from an environment variable that is not set' : show?.(value))
  }
  if (isCutOff(handle[url])) throw unreadableUrl(`${path}.${url}`)
}

// ioredis takes an undefined setting for an absent one.
function isSet (handle: object, name: string): boolean {
  return (handle as Record<string, unknown>)[name] != null
}

function refuseMisnamed (handle: object, { path, url, tls }: Address): void {
  for (const name of Object.keys(handle)) {
    if (HOST_NAME.test(name)) throw new INVALID_OPTION(`Unknown setting "${path}.${name}": the host is ${path}.host`)
    if (name !== url && URL_NAME.test(name)) throw new INVALID_OPTION(`Unknown setting "${path}.${name}": the address is ${path}.${url}`)
    // The driver would connect without TLS.
    if (name !== tls && TLS_NAME.test(name)) throw new INVALID_OPTION(`Unknown setting "${path}.${name}": TLS is ${path}.${tls}`)
  }
}
