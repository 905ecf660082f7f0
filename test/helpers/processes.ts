import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Test } from 'tap'
import type { AuthPluginOptions, RecaptchaOptions } from '../../lib/index.js'

export const SERVER = resolve('test/helpers/server-process.mjs')
const PRELOAD = pathToFileURL('scripts/tests/preload.mjs').href
const COVERAGE = process.execArgv.filter((argument) => argument.includes('/@tapjs/processinfo/'))
/** Node.js arguments for a process that runs the sources and counts for coverage. */
export const FROM_SOURCES = ['--enable-source-maps', `--import=${PRELOAD}`, ...COVERAGE]

/** The environment of a process that runs the build, without the loaders of the test runner, which would slow it down. */
export function withoutLoaders (): NodeJS.ProcessEnv {
  const { NODE_OPTIONS, ...env } = process.env
  return env
}

type ServerOptions = Omit<Partial<AuthPluginOptions>, 'hasher' | 'captcha'> & { testCaptcha?: RecaptchaOptions }

/** Starts a server in a separate process, and resolves to its origin. It must end cleanly when the test ends. */
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
