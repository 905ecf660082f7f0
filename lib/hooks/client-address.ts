/** An address without its zone (fe80::1%eth0), which is this machine's own name for a link. */
export function withoutZone (ip: string): string {
  return ip.replace(/%.*$/, '')
}
