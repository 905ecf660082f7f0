import { CAPTCHA_UNAVAILABLE } from '../errors.js'
import { ask } from '../tools/bounded-fetch.js'

export interface ProviderQuestion {
  url: string
  headers?: Record<string, string>
  /** An address ends up in logs, so what is secret goes here or into a header. What is no form is sent as JSON. */
  body: URLSearchParams | object
  /** Statuses whose answer is read; 200 alone by default. */
  statuses?: readonly number[]
  timeoutMs: number
  signal: AbortSignal
}

/** A JSON object from outside. */
export type Reply = Record<string, unknown>

const MAX_BYTES = 64 * 1024

/**
 * Posts a form or JSON and reads a JSON object, which is no success without a 200. It does so once: an answer is good for
 * one question, so a second try would be refused.
 * @throws `FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE`, with what went wrong as its cause
 */
export async function askProvider ({ body, headers, ...question }: ProviderQuestion): Promise<Reply> {
  const content = body instanceof URLSearchParams
    ? { body, headers }
    : { body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } }
  try {
    const { status, text } = await ask({ ...question, ...content, peer: 'the captcha provider', mediaType: 'application/json', maxBytes: MAX_BYTES })
    return status === 200 ? parse(text) : { ...parse(text), success: false }
  } catch (error) {
    throw new CAPTCHA_UNAVAILABLE({ cause: error })
  }
}

/** The status of an answer that could not be read; `null` where an error of `askProvider` has another cause. */
export function statusOf ({ cause }: Error): number | null {
  return (cause as { status?: number }).status ?? null
}

/** Whether a status tells that the address, the secret or the project is wrong: no visitor and no outage causes it. */
export function isOurFault (status: number | null): boolean {
  return status !== null && status >= 300 && status < 500 && ![400, 408, 429].includes(status)
}

// The parser's own message quotes the text, which is not ours to log.
function parse (text: string): Reply {
  const value = tryJson(text)
  if (typeof value === 'object' && value !== null) return value as Reply
  throw new Error('the captcha provider answered something else than a JSON object')
}

function tryJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
