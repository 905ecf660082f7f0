import type { Moment } from '../tools/database-clock.js'

/** Until when a server may answer from its memory, by both of its clocks: see `Entry` of near-cache.ts. */
export interface Lease { endsAtMs: number, endsAtMonotonicMs: number }

/** Of a process whose memory no revocation passes by. */
export const ENDLESS: Readonly<Lease> = { endsAtMs: Infinity, endsAtMonotonicMs: Infinity }

export function createLease (): Lease {
  return { endsAtMs: -Infinity, endsAtMonotonicMs: -Infinity }
}

/** `sentAt`: when the server asked whether it is still a member. */
export function extend (lease: Lease, { wallMs, monotonicMs }: Moment, ms: number): void {
  lease.endsAtMs = wallMs + ms
  lease.endsAtMonotonicMs = monotonicMs + ms
}

export function end (lease: Lease): void {
  Object.assign(lease, createLease())
}

export function isHeld (lease: Lease, { wallMs, monotonicMs }: Moment): boolean {
  return wallMs < lease.endsAtMs && monotonicMs < lease.endsAtMonotonicMs
}
