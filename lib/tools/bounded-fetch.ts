export interface BoundedRequest {
  /** The service's name in errors: `'the captcha provider'`. */
  service: string
  url: string
  headers?: Record<string, string>
  /** Sent by POST if present. Secrets belong here, because URLs end up in logs. A string is sent unchanged, with the caller's `content-type`. */
  body?: URLSearchParams | string
  /** Statuses whose body is read. Default: only 200. */
  statuses?: readonly number[]
  /** The media type that the response must have, such as `application/json`. Its parameters are ignored. */
  mediaType: string
  /** A longer body is an error. */
  maxBytes: number
  /** Limit of the whole exchange, from the DNS lookup to the last byte. */
  timeoutMs: number
  signal: AbortSignal
}

export interface BoundedResponse { status: number, text: string }

/**
 * One HTTP exchange with a limit of time and size. It follows no redirect (ASVS 5.0 15.3.2) and does not retry.
 * Its errors contain neither the URL nor the bodies.
 */
export async function boundedFetch (request: BoundedRequest): Promise<BoundedResponse> {
  const { service, signal, timeoutMs } = request
  const exchange = new AbortController()
  const stop = () => exchange.abort(new Error(`the request to ${service} was cancelled`))
  const timer = setTimeout(() => exchange.abort(new Error(`${service} took too long`)), timeoutMs)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  return await exchangeOnce(request, exchange.signal)
    .catch((error) => { throw redactDetail(error, service) })
    .finally(() => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      // Closes the connection if a part of the response is unread.
      exchange.abort()
    })
}

async function exchangeOnce ({ service, url, headers, body, statuses = [200], mediaType, maxBytes }: BoundedRequest, signal: AbortSignal): Promise<BoundedResponse> {
  const content = body === undefined ? {} : { method: 'POST', body }
  const response = await fetch(url, { ...content, headers: { accept: mediaType, ...headers }, redirect: 'manual', signal })
  const { status } = response
  const refuse = (text: string) => Object.assign(new Error(`${service} answered ${text}`), { status })
  if (!statuses.includes(status)) throw refuse(String(status))
  const type = response.headers.get('content-type') ?? ''
  if (type.split(';', 1)[0]!.trim().toLowerCase() !== mediaType) throw refuse(`something else than ${mediaType}`)
  return { status, text: await readCapped(response, maxBytes, service) }
}

async function readCapped ({ body }: Response, maxBytes: number, service: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body!) {
    size += chunk.byteLength
    if (size > maxBytes) throw new Error(`${service} answered more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

// fetch itself throws only TypeErrors. Their messages may contain the URL or, from a parser, a piece of the response.
function redactDetail (error: Error, service: string): Error {
  if (!(error instanceof TypeError)) return error
  const { message, code } = (error.cause ?? { message: 'fetch refuses the request' }) as { message?: string, code?: string }
  return new Error(`${service} cannot be reached: ${[message, code].filter(Boolean).join(', ')}`)
}
