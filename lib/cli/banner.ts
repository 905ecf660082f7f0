import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import { OVERLOADED, USERNAME_TAKEN } from '../errors.js'
import type { TokenAuth } from '../../types/token-auth.js'
import { toTableMap } from './table-flags.js'

export interface DemoUser {
  username: string
  password: string
}

/** Creates a user for trying the API if there is no user yet; otherwise resolves to `null`. Only the caller knows the password. */
export async function createDemoUser (db: Kysely<any>, tokenAuth: TokenAuth): Promise<DemoUser | null> {
  if (await hasUsers(db)) return null
  const demo = { username: 'demo', password: randomBytes(15).toString('base64url') }
  try {
    await tokenAuth.createUser(demo)
    return demo
  } catch (error) {
    // Another process was faster, and has printed its password.
    if (error instanceof USERNAME_TAKEN) return null
    if (!(error instanceof OVERLOADED)) throw error
    // A slow machine is still busy with its first hash. A server that listens need not end for that.
    await pause((error as unknown as { retryAfterSeconds: number }).retryAfterSeconds * 1000, undefined, { ref: false })
    return await createDemoUser(db, tokenAuth)
  }
}

async function hasUsers (db: Kysely<any>): Promise<boolean> {
  const { sql } = await import('kysely')
  const { createTables } = await import('../sql/tables.js')
  const { rows } = await sql`select 1 from ${createTables(toTableMap({})).users} limit 1`.execute(db)
  return rows.length > 0
}

export interface BannerFacts {
  address: AddressInfo
  database: string
  cache: string
  demo: DemoUser | null
  /** How to get a password if no demo user was created because there are users. */
  hint: string | null
  needsCaptcha: boolean
}

/** The lines that `serve` prints when it listens. */
export function toBanner ({ address, database, cache, demo, hint, needsCaptcha }: BannerFacts): string[] {
  const url = toUrl(address)
  return [
    `Listening on ${url}`,
    `  database  ${database}`,
    `  cache     ${cache}`,
    `  API docs  ${url}/docs`,
    ...(demo === null ? [] : ['', `Created a user for trying the API (shown only once): ${demo.username}, password ${demo.password}`]),
    ...(hint === null ? [] : ['', hint]),
    ...(demo === null || needsCaptcha ? [] : ['', ...toCurlLines(url, demo)]),
    ...(needsCaptcha ? ['', 'RECAPTCHA_KEY is set: a login needs the captchaToken of the reCAPTCHA widget'] : []),
    '',
    'Press Ctrl-C to stop'
  ]
}

function toCurlLines (url: string, { username, password }: DemoUser): string[] {
  return [
    `TOKEN=$(curl -s ${url}/auth/login -H 'content-type: application/json' -d '${JSON.stringify({ username, password })}' | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')`,
    `curl -si ${url}/auth/me -H "authorization: Bearer $TOKEN"; echo`,
    `curl -si -X POST ${url}/auth/logout -H "authorization: Bearer $TOKEN"`
  ]
}

// A server that listens on all addresses can be reached at the loopback address.
function toUrl ({ address, family, port }: AddressInfo): string {
  const isIPv6 = family === 'IPv6'
  const host = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
  return `http://${isIPv6 ? `[${host}]` : host}:${port}`
}
