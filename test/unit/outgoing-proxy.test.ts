import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import { EnvHttpProxyAgent, getGlobalDispatcher, setGlobalDispatcher } from 'undici'
import { recaptcha } from '../../lib/index.js'
import { answerJson, startStub } from '../helpers/stub.js'

// Nothing listens there.
const NOWHERE = 'http://127.0.0.1:2/siteverify'

/** A proxy that connects every tunnel to the same place, and the addresses it was asked for. */
async function startProxy (place: string) {
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer().listen(0, '127.0.0.1')
  server.on('connect', ({ url }, client: Socket) => {
    asked.push(String(url))
    const target = connect(Number(new URL(place).port), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n')
      target.pipe(client).pipe(target)
    })
    for (const socket of [client, target]) {
      socket.on('error', () => {})
      sockets.add(socket)
    }
  })
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

t.test('a captcha provider is called through the proxy of the environment, as the documentation describes', async (t) => {
  const { origin, heard } = await startStub(t, (response) => answerJson(response, { success: true }))
  const proxy = await startProxy(origin)
  const captcha = recaptcha({ secret: 'a-secret', url: NOWHERE, maxAge: null })
  const verify = async () => await captcha.verify('the answer', { ip: null, signal: new AbortController().signal })
  await t.rejects(verify(), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' }, 'not without it')

  const before = getGlobalDispatcher()
  const agent = new EnvHttpProxyAgent({ httpProxy: proxy.url, noProxy: '' })
  setGlobalDispatcher(agent)
  t.teardown(async () => {
    setGlobalDispatcher(before)
    await agent.destroy()
  })
  t.same(await verify(), { ok: true })
  t.same(proxy.asked, ['127.0.0.1:2'])
  t.match(heard, [{ method: 'POST', url: '/siteverify', body: /response=the\+answer/ }])
})
