import { isIP } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'

/**
 * A request's address in canonical form: without its zone (fe80::1%eth0, a local name of a link), and
 * IPv4 instead of IPv4 in IPv6 (::ffff:192.0.2.1, in any spelling). `null` if there is none, or if it is not an address.
 */
export function clientAddress (ip: string | null | undefined): string | null {
  const address = (ip ?? '').replace(/%.*$/, '')
  return isIP(address) === 0 ? null : normalizeIP(address, 128)
}

/** The key for counting a client: its IPv4 address, or the /64 of its IPv6 address. Clients without an address (a Unix socket) share one key. */
export function addressKey (ip: string | null | undefined): string {
  const address = clientAddress(ip)
  return address === null ? 'none' : normalizeIP(address, 64)
}
