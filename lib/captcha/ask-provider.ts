import { CAPTCHA_UNAVAILABLE } from '../errors.js'

export interface ProviderQuestion {
  url: string
  /** It goes into the body: an address ends up in logs, and the form has the secret in it. */
  form: URLSearchParams
  timeoutMs: number
  signal: AbortSignal
}

const MAX_BYTES = 64 * 1024

/**
 * Posts a form and reads a JSON object, once: an answer is good for one question, so a second try would be refused.
 * @throws `FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE`, with what went wrong as its cause
 */
export async function askProvider ({ url, form, timeoutMs, signal }: ProviderQuestion): Promise<Record<string, unknown>> {
  const deadline = new AbortController()
  const abort = () => deadline.abort(new Error('the captcha provider took too long'))
  const timer = setTimeout(abort, timeoutMs)
  signal.addEventListener('abort', abort)
  if (signal.aborted) abort()
  return await post(url, form, deadline.signal)
    .catch((error) => { throw new CAPTCHA_UNAVAILABLE({ cause: error }) })
    .finally(() => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
    })
}

async function post (url: string, body: URLSearchParams, signal: AbortSignal): Promise<Record<string, unknown>> {
  const response = await fetch(url, { method: 'POST', body, redirect: 'error', signal })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`the captcha provider answered ${response.status}`)
  }
  return parse(await readCapped(response))
}

async function readCapped ({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body!) {
    size += chunk.byteLength
    if (size > MAX_BYTES) throw new Error(`the captcha provider answered more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

// The parser's own message quotes the text, which is not ours to log.
function parse (text: string): Record<string, unknown> {
  const value = tryJson(text)
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  throw new Error('the captcha provider answered something else than a JSON object')
}

function tryJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
