import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { AuthPluginOptions, RecaptchaOptions } from '../../lib/index.js'

export const SERVER = fileURLToPath(new URL('server-process.mjs', import.meta.url))
const LOADER = new URL('../../scripts/typescript/register.mjs', import.meta.url).href
const COVERAGE = process.execArgv.filter((argument) => argument.includes('/@tapjs/processinfo/'))
/** For a process that runs sources, and counts for coverage. */
export const TYPESCRIPT = ['--enable-source-maps', `--import=${LOADER}`, ...COVERAGE]

/** The environment of a process that runs what was built: what the test runner loads would only make it slow. */
export function withoutLoaders (): NodeJS.ProcessEnv {
  const { NODE_OPTIONS, ...env } = process.env
  return env
}

type ServerOptions = Omit<Partial<AuthPluginOptions>, 'hasher' | 'captcha'> & { testCaptcha?: RecaptchaOptions }

/** Starts a server in a process of its own; its origin. It must end cleanly with the test. */
export async function startServer (t: Test, options: ServerOptions): Promise<string> {
  const child = spawn(process.execPath, [SERVER, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'], env: withoutLoaders() })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM')
    const [code] = await exited
    if (code !== 0) throw new Error(`the server process ended with ${String(code)}`)
  })
  const [port] = await Promise.race([once(child.stdout, 'data'), exited.then(() => { throw new Error('the server process did not start') })])
  return `http://127.0.0.1:${String(port).trim()}`
}
