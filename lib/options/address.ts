import { INVALID_OPTION } from '../errors.js'
import { isConfiguration } from './handles.js'
import { refuse } from './rules.js'

/** The settings of a driver that name its server. */
interface Address {
  path: string
  url: string
  /** What is expected of each setting if it is present. Not of a password: there are servers without one. */
  texts: Record<string, string>
  /** One of these must be present. Empty: the driver's own variables may name the server. */
  oneOf: string[]
}

const PORT = 'a port'
/** Without them the driver's defaults are used on the named host. */
const HARMLESS = ['port', 'user', 'database']

const DATABASE: Address = { path: 'database', url: 'connectionString', texts: { connectionString: 'a URL', host: 'a host name', port: PORT, database: 'a name', user: 'a name' }, oneOf: [] }
const REDIS: Address = { path: 'redis', url: 'url', texts: { url: 'a URL', host: 'a host name', path: 'a path', port: PORT }, oneOf: ['url', 'host', 'path', 'sentinels', 'Connector'] }

/** What an address is called elsewhere, or by mistake. */
const URL_NAME = /^(ur[il]|dsn|socket|conn?e?c?tion_?(str|string|ur[il])?)$/i
const HOST_NAME = /^host_?name$/i

/**
 * Refuses the configuration of a connection whose address is missing, as from an unset variable, or has another name: the driver would connect
 * to its default, this machine.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`
 */
export function refuseBadAddresses ({ database, redis }: { database: unknown, redis: unknown }): void {
  refuseBadAddress(database, DATABASE)
  refuseBadAddress(redis, REDIS)
}

function refuseBadAddress (handle: unknown, address: Address): void {
  if (!isConfiguration(handle)) return
  refuseEmpty(handle as Record<string, unknown>, address)
  refuseMisnamed(handle, address)
  const { path, url, oneOf } = address
  if (oneOf.length > 0 && !oneOf.some((name) => isSet(handle, name))) throw new INVALID_OPTION(`${path} names no server: set ${path}.${url}, or ${path}.host`)
}

function refuseEmpty (handle: Record<string, unknown>, { path, texts }: Address): void {
  for (const [name, expected] of Object.entries(texts)) {
    const value = handle[name]
    const isFine = expected === PORT ? isPort(value) : typeof value === 'string' && value !== ''
    if (Object.hasOwn(handle, name) && !isFine && !(value === undefined && HARMLESS.includes(name))) refuse(`${path}.${name}`, expected, value)
  }
}

// `Number(process.env.PORT)` of an unset variable is NaN.
function isPort (value: unknown): boolean {
  return /^\d{1,5}$/.test(String(value))
}

// ioredis takes an undefined setting for an absent one.
function isSet (handle: object, name: string): boolean {
  return (handle as Record<string, unknown>)[name] != null
}

function refuseMisnamed (handle: object, { path, url }: Address): void {
  for (const name of Object.keys(handle)) {
    if (HOST_NAME.test(name)) throw new INVALID_OPTION(`Unknown setting "${path}.${name}": the host is ${path}.host`)
    if (name !== url && URL_NAME.test(name)) throw new INVALID_OPTION(`Unknown setting "${path}.${name}": the address is ${path}.${url}`)
  }
}
