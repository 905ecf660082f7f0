import type { CaptchaVerdict } from '../../types/captcha.js'
import type { Now } from '../../types/options.js'

/** A provider's statement about a solved captcha. It comes from outside, so no field has a known type. */
export interface ProviderReply {
  hostname: unknown
  /** The time of the solution, as text with a time zone. */
  solvedAt: unknown
  action: unknown
  score: unknown
}

/** The values that a reply must have. A field that is `null` is not checked. */
export interface Expectations {
  hostnames: readonly string[] | null
  maxAgeMs: number | null
  action: string | null
  minScore: number | null
  now: Now
}

const MAX_AHEAD_MS = 60_000
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$/
const CODE = /^[\w-]{1,64}$/

/** The verdict on a captcha that the provider reports as solved. A field that is missing or has another type is refused. */
export function verdictOf (reply: ProviderReply, expected: Expectations): CaptchaVerdict {
  const fault = findHostFault(reply, expected) ?? findAgeFault(reply, expected) ?? findActionFault(reply, expected) ?? findScoreFault(reply, expected)
  return fault === null ? { ok: true } : refused(fault)
}

/** A refusal. Its reason is the provider's code, if that is a word such as `timeout-or-duplicate`. */
export function refused (code: unknown): CaptchaVerdict {
  return { ok: false, reason: typeof code === 'string' && CODE.test(code) ? code : 'refused' }
}

function findHostFault ({ hostname }: ProviderReply, { hostnames }: Expectations): string | null {
  const isRight = hostnames === null || (typeof hostname === 'string' && hostnames.includes(hostname.toLowerCase()))
  return isRight ? null : 'wrong-hostname'
}

// An unreadable time is NaN. Every comparison with it is false, so it counts as too old.
function findAgeFault ({ solvedAt }: ProviderReply, { maxAgeMs, now }: Expectations): string | null {
  if (maxAgeMs === null) return null
  const ageMs = typeof solvedAt === 'string' && INSTANT.test(solvedAt) ? now() - Date.parse(solvedAt) : NaN
  if (ageMs < -MAX_AHEAD_MS) return 'in-the-future'
  return ageMs <= maxAgeMs ? null : 'too-old'
}

function findActionFault (reply: ProviderReply, { action }: Expectations): string | null {
  return action === null || reply.action === action ? null : 'wrong-action'
}

// JSON.parse reads 1e999 as Infinity.
function findScoreFault ({ score }: ProviderReply, { minScore }: Expectations): string | null {
  const isRight = minScore === null || (typeof score === 'number' && score >= minScore && score <= 1)
  return isRight ? null : 'low-score'
}
