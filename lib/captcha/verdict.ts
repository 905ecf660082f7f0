import type { CaptchaVerdict } from '../../types/captcha.js'
import type { Now } from '../../types/options.js'

/** What a provider says of a solved captcha. It comes from outside, so nothing is known of the types. */
export interface Solved {
  hostname: unknown
  /** When, as text with a time zone. */
  solvedAt: unknown
  action: unknown
  score: unknown
}

/** What it has to be; `null`: it is not looked at. */
export interface Demands {
  hostnames: readonly string[] | null
  maxAgeMs: number | null
  action: string | null
  minScore: number | null
  now: Now
}

const MAX_AHEAD_MS = 60_000
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$/
const CODE = /^[\w-]{1,64}$/

/** The verdict on a captcha that the provider calls solved. What is missing or has another shape is refused. */
export function judge (solved: Solved, demands: Demands): CaptchaVerdict {
  const fault = findHostFault(solved, demands) ?? findAgeFault(solved, demands) ?? findActionFault(solved, demands) ?? findScoreFault(solved, demands)
  return fault === null ? { ok: true } : refused(fault)
}

/** A refusal with the provider's code as its reason, if it is one: a word such as `timeout-or-duplicate`. */
export function refused (code: unknown): CaptchaVerdict {
  return { ok: false, reason: typeof code === 'string' && CODE.test(code) ? code : 'refused' }
}

function findHostFault ({ hostname }: Solved, { hostnames }: Demands): string | null {
  const isRight = hostnames === null || (typeof hostname === 'string' && hostnames.includes(hostname.toLowerCase()))
  return isRight ? null : 'wrong-hostname'
}

// A time that cannot be read is NaN, which compares as false, and so is not young enough.
function findAgeFault ({ solvedAt }: Solved, { maxAgeMs, now }: Demands): string | null {
  if (maxAgeMs === null) return null
  const ageMs = typeof solvedAt === 'string' && INSTANT.test(solvedAt) ? now() - Date.parse(solvedAt) : NaN
  if (ageMs < -MAX_AHEAD_MS) return 'in-the-future'
  return ageMs <= maxAgeMs ? null : 'too-old'
}

function findActionFault ({ action }: Solved, demands: Demands): string | null {
  return demands.action === null || action === demands.action ? null : 'wrong-action'
}

// JSON.parse reads 1e999 as Infinity.
function findScoreFault ({ score }: Solved, { minScore }: Demands): string | null {
  const isRight = minScore === null || (typeof score === 'number' && score >= minScore && score <= 1)
  return isRight ? null : 'low-score'
}
