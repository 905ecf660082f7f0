// The processes of the contestants. They stay for the whole run: their code is compiled and their connections are open when they are measured.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { requestOf } from './load.mjs'
import { pin } from './machine.mjs'

/** Requests after which V8 has optimized a server's code, as far as was seen. */
const WARM_REQUESTS = 60_000

/** Starts the server of a contestant on these cores; `null`: on any. */
export async function startServer ({ name, once: isOnce }, { tokens, cores, env }) {
  const child = fork(new URL('serve.mjs', import.meta.url), [JSON.stringify({ name, tokens })], { env: { ...process.env, NODE_ENV: 'production', ...env } })
  const [ready] = await Promise.race([once(child, 'message'), once(child, 'exit')])
  if (ready.port === undefined) throw new Error(`the server of "${name}" did not start`)
  if (cores !== null) pin(child.pid, cores)
  const requests = ready.headers.map(requestOf)
  let sent = 0
  let forgottenAt = 0
  return {
    pid: child.pid,
    port: ready.port,
    /** Each token in turn at first, so that all are known to the server, and then any of them; or always in turn. */
    next () {
      if (isOnce && sent - forgottenAt >= requests.length) throw new Error(`${requests.length} tokens are too few for a sample of "${name}"`)
      const inTurn = isOnce || sent < requests.length
      const i = inTurn ? sent % requests.length : Math.floor(Math.random() * requests.length)
      sent++
      return requests[i]
    },
    isWarm: () => sent >= WARM_REQUESTS,
    /** Removes its tokens from the cache, if it must find none there. */
    async forget () {
      if (!isOnce) return
      forgottenAt = sent
      child.send('forget')
      await once(child, 'message')
    },
    async stop () {
      if (child.exitCode !== null) return
      child.disconnect()
      await once(child, 'exit')
    }
  }
}
