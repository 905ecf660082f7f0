import { CAPTCHA_UNAVAILABLE } from '../errors.js'
import { boundedFetch } from '../tools/bounded-fetch.js'

export interface ProviderRequest {
  url: string
  headers?: Record<string, string>
  /** A form, or an object that is sent as JSON. Secrets belong here or into a header, because URLs end up in logs. */
  body: URLSearchParams | object
  /** Statuses whose body is read. Default: only 200. */
  statuses?: readonly number[]
  timeoutMs: number
  signal: AbortSignal
}

/** A JSON object from outside. */
export type JsonObject = Record<string, unknown>

const MAX_BYTES = 64 * 1024

/**
 * Posts a form or JSON and reads a JSON object. With a status other than 200 its `success` is `false`. There is no second attempt,
 * because a provider accepts an answer only once.
 * @throws `FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE`, with the failure as its cause
 */
export async function postToProvider ({ body, headers, ...request }: ProviderRequest): Promise<JsonObject> {
  const content = body instanceof URLSearchParams
    ? { body, headers }
    : { body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } }
  try {
    const { status, text } = await boundedFetch({ ...request, ...content, service: 'the captcha provider', mediaType: 'application/json', maxBytes: MAX_BYTES })
    return status === 200 ? parse(text) : { ...parse(text), success: false }
  } catch (error) {
    throw new CAPTCHA_UNAVAILABLE({ cause: error })
  }
}

/** The status of a response that could not be read. `null` if an error of `postToProvider` has another cause. */
export function statusOf ({ cause }: Error): number | null {
  return (cause as { status?: number }).status ?? null
}

/** Whether a status means that the URL, the secret or the project is wrong: neither a visitor nor an outage causes it. */
export function isMisconfigured (status: number | null): boolean {
  return status !== null && status >= 300 && status < 500 && ![400, 408, 429].includes(status)
}

// The parser's own message quotes the text, which must not be logged.
function parse (text: string): JsonObject {
  const value = tryJson(text)
  if (typeof value === 'object' && value !== null) return value as JsonObject
  throw new Error('the captcha provider answered something else than a JSON object')
}

function tryJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
