export interface Question {
  /** Who is asked, as errors name it: `'the captcha provider'`. */
  peer: string
  url: string
  headers?: Record<string, string>
  /** Posted, if it is there: an address ends up in logs, so what is secret goes here. A text as it is, with a `content-type` of the caller's. */
  body?: URLSearchParams | string
  /** Statuses whose answer is read; 200 alone by default. */
  statuses?: readonly number[]
  /** The only media type that the answer may have, such as `application/json`; its parameters do not count. */
  mediaType: string
  /** A longer answer is not read to its end. */
  maxBytes: number
  /** For the whole exchange, from the name look-up to the last byte. */
  timeoutMs: number
  signal: AbortSignal
}

export interface Answer { status: number, text: string }

/**
 * One bounded HTTP exchange: no redirect is followed (ASVS 5.0 15.3.2), nothing is asked a second time.
 * Rejects with what went wrong, without the address, the body and the answer.
 */
export async function ask (question: Question): Promise<Answer> {
  const { peer, signal, timeoutMs } = question
  const exchange = new AbortController()
  const stop = () => exchange.abort(new Error(`nobody waits for ${peer} any more`))
  const timer = setTimeout(() => exchange.abort(new Error(`${peer} took too long`)), timeoutMs)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  return await exchangeOnce(question, exchange.signal)
    .catch((error) => { throw redactDetail(error, peer) })
    .finally(() => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      // Drops the connection where something of the answer is unread.
      exchange.abort()
    })
}

async function exchangeOnce ({ peer, url, headers, body, statuses = [200], mediaType, maxBytes }: Question, signal: AbortSignal): Promise<Answer> {
  const content = body === undefined ? {} : { method: 'POST', body }
  const response = await fetch(url, { ...content, headers: { accept: mediaType, ...headers }, redirect: 'manual', signal })
  const { status } = response
  const refuse = (text: string) => Object.assign(new Error(`${peer} answered ${text}`), { status })
  if (!statuses.includes(status)) throw refuse(String(status))
  const type = response.headers.get('content-type') ?? ''
  if (type.split(';', 1)[0]!.trim().toLowerCase() !== mediaType) throw refuse(`something else than ${mediaType}`)
  return { status, text: await readCapped(response, maxBytes, peer) }
}

async function readCapped ({ body }: Response, maxBytes: number, peer: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body!) {
    size += chunk.byteLength
    if (size > maxBytes) throw new Error(`${peer} answered more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

// fetch throws only TypeErrors of its own. They may hold the address, or as a parser's error a piece of the answer.
function redactDetail (error: Error, peer: string): Error {
  if (!(error instanceof TypeError)) return error
  const { message, code } = (error.cause ?? { message: 'fetch refuses the question' }) as { message?: string, code?: string }
  return new Error(`${peer} cannot be asked: ${[message, code].filter(Boolean).join(', ')}`)
}
