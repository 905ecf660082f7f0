import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface Heard {
  method: string | undefined
  url: string | undefined
  headers: IncomingMessage['headers']
  body: string
}

/** An external service, such as a captcha provider, that answers with `answer` and records the requests. It is closed when the test ends. */
export async function startStub (t: Test, answer: (response: ServerResponse, heard: Heard) => void): Promise<{ origin: string, heard: Heard[] }> {
  const all: Heard[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const heard = { method: request.method, url: request.url, headers: request.headers, body }
    all.push(heard)
    answer(response, heard)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, heard: all }
}

export function answerJson (response: ServerResponse, body: object | string, status = 200, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body))
}
