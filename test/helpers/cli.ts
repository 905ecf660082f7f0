import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { run } from '../../lib/cli/run.js'
import type { Io } from '../../lib/cli/io.js'
import { FROM_SOURCES, withoutLoaders } from './processes.js'
import { until } from './until.js'

interface Given {
  env?: Record<string, string>
  /** The content of stdin. The stdin of a terminal has no end. */
  stdin?: string
  isTTY?: boolean
}

export interface Running {
  result: Promise<{ code: number, out: string, err: string }>
  out: () => string
  err: () => string
  type: (text: string) => void
  signal: () => void
  clock: { now: number }
  exits: number[]
}

/** Starts a command in this process. */
export function start (args: string[], { env = {}, stdin = '', isTTY = false }: Given = {}): Running {
  const written = { out: '', err: '' }
  const capture = (name: 'out' | 'err') => new PassThrough().on('data', (chunk) => { written[name] += chunk })
  const listeners = new Set<() => void>()
  const clock = { now: 0 }
  const exits: number[] = []
  const input = isTTY ? new PassThrough() : Readable.from(stdin === '' ? [] : [Buffer.from(stdin)])
  const io: Io = {
    env,
    stdin: Object.assign(input, { isTTY }),
    stdout: capture('out'),
    stderr: capture('err'),
    monotonicNow: () => clock.now,
    onSignal: (listener) => {
      listeners.add(listener)
      return () => { listeners.delete(listener) }
    },
    exit: (code) => { exits.push(code) }
  }
  return {
    // Streams deliver written data before timers run.
    result: run(args, io).then(async (code) => ({ code, ...await pause(0, written) })),
    out: () => written.out,
    err: () => written.err,
    type: (text) => { (input as PassThrough).write(text) },
    signal: () => { for (const listener of listeners) listener() },
    clock,
    exits
  }
}

export async function cli (args: string[], given: Given = {}) {
  return await start(args, given).result
}

/** Starts a separate process as a shell would, from the build and without this process's database and Redis. It is killed when the test ends. */
export function spawnNode (t: Test, args: string[], env: Record<string, string> = {}, cwd?: string) {
  const { DATABASE_URL, REDIS_URL, npm_command: _npm, ...inherited } = withoutLoaders()
  const child = spawn(process.execPath, args, { env: { ...inherited, ...env }, cwd })
  t.teardown(() => { child.kill('SIGKILL') })
  const written = { out: '', err: '' }
  child.stdout.on('data', (chunk) => { written.out += chunk })
  child.stderr.on('data', (chunk) => { written.err += chunk })
  const result = once(child, 'close').then(([code]) => ({ code, ...written }))
  return { child, result, out: () => written.out, err: () => written.err }
}

export function spawnCli (t: Test, args: string[], env: Record<string, string> = {}, cwd?: string) {
  return spawnNode(t, [resolve('dist/lib/cli/main.js'), ...args], env, cwd)
}

/** What the sources were compiled to. */
export const SOURCE = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url))

/** The same from the sources, for coverage of code that only runs in a separate process. */
export function spawnSource (t: Test, args: string[], env: Record<string, string> = {}, cwd?: string) {
  return spawnNode(t, [...FROM_SOURCES, SOURCE, ...args], env, cwd)
}

/** Resolves when the output has the text; rejects if the command ends before. */
export async function untilPrinted ({ out, result }: Pick<Running, 'out'> & { result: Promise<{ err: string }> }, text: string): Promise<void> {
  const ended = result.then(({ err }) => { throw new Error(`it ended: ${err}`) })
  await Promise.race([until(() => out().includes(text), text), ended])
  ended.catch(() => {})
}

export async function post (url: string, path: string, body: object): Promise<Response> {
  return await fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
}
