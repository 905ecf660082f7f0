import type { AddressInfo } from 'node:net'
import type { DemoUser } from './demo-user.js'

export interface BannerFacts {
  address: AddressInfo
  database: string
  cache: string
  demo: DemoUser | null
  needsCaptcha: boolean
}

/** What `serve` prints when it listens. */
export function toBanner ({ address, database, cache, demo, needsCaptcha }: BannerFacts): string[] {
  const url = toUrl(address)
  return [
    `Listening on ${url}`,
    `  database  ${database}`,
    `  cache     ${cache}`,
    `  API docs  ${url}/docs`,
    ...(demo === null ? [] : ['', `Made a user to try it out, shown this once: ${demo.username}, password ${demo.password}`]),
    ...(demo === null || needsCaptcha ? [] : ['', ...toCurlLines(url, demo)]),
    ...(needsCaptcha ? ['', 'RECAPTCHA_KEY is set: a login needs captchaToken, which the page\'s widget gives'] : []),
    '',
    'Ctrl-C ends it'
  ]
}

function toCurlLines (url: string, { username, password }: DemoUser): string[] {
  return [
    `TOKEN=$(curl -s ${url}/auth/login -H 'content-type: application/json' -d '${JSON.stringify({ username, password })}' | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')`,
    `curl -si ${url}/auth/me -H "authorization: Bearer $TOKEN"; echo`,
    `curl -si -X POST ${url}/auth/logout -H "authorization: Bearer $TOKEN"`
  ]
}

// A server that listens everywhere can be reached at the loopback address.
function toUrl ({ address, family, port }: AddressInfo): string {
  const isIPv6 = family === 'IPv6'
  const host = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
  return `http://${isIPv6 ? `[${host}]` : host}:${port}`
}
