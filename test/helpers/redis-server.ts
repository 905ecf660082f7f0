import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { freePort } from './ports.js'
import { until } from './until.js'

export interface RedisServer {
  url: string
  port: number
  /** The directory from which it loads `dump.rdb` when it starts. */
  dir: string
  /** Resolves when it has loaded its data and answers. */
  start (...args: string[]): Promise<void>
  /** Sends SIGKILL: all data in memory is lost. */
  kill (): Promise<void>
  freeze (): void
  thaw (): void
}

/** A Redis that the test can kill and freeze. It is not started yet. */
export async function createRedisServer (t: Test): Promise<RedisServer> {
  const port = await freePort()
  const dir = await mkdtemp(join(tmpdir(), 'fta-redis-'))
  const url = `redis://127.0.0.1:${port}`
  let child: ChildProcess | null = null

  async function kill (): Promise<void> {
    if (child === null || child.exitCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
    child = null
  }
  t.teardown(async () => { await kill(); await rm(dir, { recursive: true, force: true }) })

  return {
    url,
    port,
    dir,
    async start (...more) {
      const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir, ...more]
      child = spawn(process.env['REDIS_SERVER_BIN'] ?? 'redis-server', args, { stdio: 'ignore' })
      const probe = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
      probe.on('error', () => {})
      await until(async () => await probe.ping() === 'PONG', 'redis-server answers')
        .catch(async (error) => { await kill(); throw error })
        .finally(() => probe.disconnect())
    },
    kill,
    freeze () { child?.kill('SIGSTOP') },
    thaw () { child?.kill('SIGCONT') }
  }
}
