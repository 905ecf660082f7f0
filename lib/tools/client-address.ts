import { BlockList, isIP } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'

/** What some proxies write: an IPv4 address with a port, or an IPv6 address in brackets, with or without one. */
const WITH_PORT = /^(?:([\d.]+):\d{1,5}|\[([^\]]*)\](?::\d{1,5})?)$/

/**
 * A request's address in canonical form: without its port, without its zone (fe80::1%eth0, a local name of a link), and
 * IPv4 instead of IPv4 in IPv6 (::ffff:192.0.2.1, in any spelling). `null` if there is none, or if it is not an address.
 */
export function clientAddress (ip: string | null | undefined): string | null {
  const [, v4, v6] = WITH_PORT.exec(ip ?? '') ?? []
  const address = (v4 ?? v6 ?? ip ?? '').replace(/%.*$/, '')
  return isIP(address) === 0 ? null : normalizeIP(address, 128)
}

/** The key for counting a client: its IPv4 address, or the /64 of its IPv6 address. Clients without an address (a Unix socket) share one key. */
export function addressKey (ip: string | null | undefined): string {
  const address = clientAddress(ip)
  return address === null ? 'none' : normalizeIP(address, 64)
}

/** Addresses and networks (`'10.0.0.0/8'`). @throws if one of them is neither */
export function networkList (entries: readonly string[]): BlockList {
  const list = new BlockList()
  for (const entry of entries) {
    const [, address = entry, prefix] = /^([^/]*)\/(.*)$/.exec(entry) ?? []
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, /^\d+$/.test(prefix) ? Number(prefix) : NaN, family)
  }
  return list
}
