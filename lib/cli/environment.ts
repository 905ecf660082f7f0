import { isIP } from 'node:net'
import { INVALID_OPTION } from '../errors.js'
import { integer, refuse, text } from '../options/rules.js'
import type { Rule } from '../options/rules.js'
import { isCutOff } from '../options/settings.js'
import type { Environment } from './io.js'

/** A port, as the text of a variable or a flag. */
export const port = number(integer({ min: 0, max: 65_535 }))
export const host = text('a host name or an address', /^[\w.:%-]{1,255}$/)
const expiry = number(integer({ min: 60, max: 3650 * 86_400 }))

export type TrustProxy = boolean | string[]

/** The variables that `serve` reads, except DATABASE_URL and REDIS_URL. */
export function readServeEnvironment (env: Environment) {
  return {
    port: read(env, 'PORT', port) ?? 3000,
    host: read(env, 'HOST', host) ?? '127.0.0.1',
    tokenTtlMs: (read(env, 'TOKEN_EXPIRY_IN_SECONDS', expiry) ?? 30 * 86_400) * 1000,
    recaptchaKey: read(env, 'RECAPTCHA_KEY', recaptchaKey) ?? null,
    trustProxy: read(env, 'TRUST_PROXY', trustProxy) ?? false
  }
}

export function readDatabaseUrl (env: Environment): string | null {
  return read(env, 'DATABASE_URL', url('postgres', 'postgresql')) ?? null
}

export function readRedisUrl (env: Environment): string | null {
  const given = read(env, 'REDIS_URL', url('redis', 'rediss')) ?? null
  // Without a host the client would connect to this machine.
  if (given !== null && new URL(given).hostname === '') throw new INVALID_OPTION('REDIS_URL must name a host, as in redis://localhost:6379')
  return given
}

// An empty variable is refused: a deployment with an empty DATABASE_URL must not start on an embedded database.
function read<Result> (env: Environment, name: string, rule: Rule<Result>): Result | undefined {
  if (env[name] === '') throw new INVALID_OPTION(`${name} is set but empty. Set a value, or unset the variable to get the default`)
  return env[name] === undefined ? undefined : rule(env[name], name)
}

/** Applies a rule for numbers to text. */
export function number (rule: Rule<number>): Rule<number> {
  return (value, path) => {
    const isNumber = typeof value === 'string' && /^\d{1,10}$/.test(value)
    return isNumber ? rule(Number(value), path) : rule(value, path)
  }
}

// The values are not shown: they are secrets or contain a password.
function url (...schemes: string[]): Rule<string> {
  return (value, path) => {
    const isUrl = schemes.some((scheme) => String(value).startsWith(`${scheme}://`)) && isDecodable(String(value)) && !isCutOff(value)
    if (isUrl) return String(value)
    throw new INVALID_OPTION(`${path} must be a URL that begins with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}, with special characters of a password percent-encoded`)
  }
}

// The drivers decode the parts of a URL, and would name neither the variable nor the part.
function isDecodable (value: string): boolean {
  try {
    const { username, password, pathname } = new URL(value)
    for (const part of [username, password, pathname]) decodeURIComponent(part)
    return true
  } catch {
    return false
  }
}

function recaptchaKey (value: unknown, path: string): string {
  if (/^[!-~]{1,200}$/.test(String(value))) return String(value)
  throw new INVALID_OPTION(`${path} must be the secret key of reCAPTCHA`)
}

function trustProxy (value: unknown, path: string): TrustProxy {
  if (value === 'true' || value === 'false') return value === 'true'
  const networks = String(value).split(',').map((network) => network.trim())
  return networks.every(isNetwork) ? networks : refuse(path, 'false, true, or addresses and networks such as "10.0.0.0/8, ::1"', value)
}

function isNetwork (value: string): boolean {
  const [address, bits, ...rest] = value.split('/')
  const version = isIP(String(address))
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

/** For display, without user and password. */
export function labelOfRedis (url: string): string {
  const { hostname, port } = new URL(url)
  return `Redis at ${hostname || 'localhost'}:${port || '6379'}`
}
