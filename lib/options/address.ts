import { INVALID_OPTION } from '../errors.js'
import { isConfiguration } from './handles.js'
import { refuseUnknownSettings } from './pool-settings.js'
import { refuse } from './rules.js'

/** What a setting must be if it is present. */
interface Setting { expected: string, isFine: (value: unknown) => boolean }

/** The settings of a driver that name its server. */
interface Address {
  path: string
  url: string
  settings: Record<string, Setting>
  /** One of these must be present. Empty: the driver's own variables may name the server. */
  oneOf: string[]
}

const isText = (value: unknown) => typeof value === 'string' && value !== ''
// `Number(process.env.PORT)` of an unset variable is NaN.
const isPort = (value: unknown) => /^\d{1,5}$/.test(String(value))

const URL_SETTING = { expected: 'a URL', isFine: isText }
const HOST = { expected: 'a host name', isFine: isText }
const PATH = { expected: 'a path', isFine: isText }
const PORT = { expected: 'a port', isFine: isPort }
const NAME = { expected: 'a name', isFine: isText }
const PASSWORD = { expected: 'a string or a function', isFine: (value: unknown) => typeof value === 'string' || typeof value === 'function' }
// pg writes these into its first message as they are. Another value throws there, where nothing can catch it.
const TEXT = optional({ expected: 'a string', isFine: (value) => typeof value === 'string' })

const DATABASE: Address = {
  path: 'database',
  url: 'connectionString',
  // None may be undefined: pg would use a variable such as PGPASSWORD, or the user of the process.
  settings: { connectionString: URL_SETTING, host: HOST, port: PORT, database: NAME, user: NAME, password: PASSWORD, options: TEXT, application_name: TEXT, fallback_application_name: TEXT },
  oneOf: []
}
const REDIS: Address = { path: 'redis', url: 'url', settings: { url: URL_SETTING, host: HOST, path: PATH, port: optional(PORT) }, oneOf: ['url', 'host', 'path', 'sentinels', 'Connector'] }

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
  if (isConfiguration(database)) refuseUnknownSettings(database)
  refuseBadAddress(redis, REDIS)
}

function refuseBadAddress (handle: unknown, address: Address): void {
  if (!isConfiguration(handle)) return
  refuseEmpty(handle as Record<string, unknown>, address)
  refuseMisnamed(handle, address)
  const { path, url, oneOf } = address
  if (oneOf.length > 0 && !oneOf.some((name) => isSet(handle, name))) throw new INVALID_OPTION(`${path} names no server: set ${path}.${url}, or ${path}.host`)
}

function refuseEmpty (handle: Record<string, unknown>, { path, settings }: Address): void {
  for (const [name, { expected, isFine }] of Object.entries(settings)) {
    if (Object.hasOwn(handle, name) && !isFine(handle[name])) refuse(`${path}.${name}`, expected, handle[name], shown(name, handle[name]))
  }
}

function shown (name: string, value: unknown): string | undefined {
  if (value === undefined) return 'undefined, as from an environment variable that is not set'
  return name === 'password' && typeof value === 'number' ? 'a number' : undefined
}

function optional ({ expected, isFine }: Setting): Setting {
  return { expected, isFine: (value) => value === undefined || isFine(value) }
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
