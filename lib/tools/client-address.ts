import { isIP } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'

/**
 * A request's address in its one spelling: without its zone (fe80::1%eth0, this machine's own name for a link), and an
 * IPv4 address that came as IPv6 (::ffff:192.0.2.1, however it is written) as itself. `null` where there is none, or no address.
 */
export function clientAddress (ip: string | null | undefined): string | null {
  const address = (ip ?? '').replace(/%.*$/, '')
  return isIP(address) === 0 ? null : normalizeIP(address, 128)
}

/** What one client is counted by: its IPv4 address, or the /64 of its IPv6 address. Those without an address (a Unix socket) share one count. */
export function addressKey (ip: string | null | undefined): string {
  const address = clientAddress(ip)
  return address === null ? 'none' : normalizeIP(address, 64)
}
