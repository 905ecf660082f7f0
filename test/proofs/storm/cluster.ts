import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../../lib/index.js'
import { SERVER, withoutLoaders } from '../../helpers/processes.js'
import { createTcpProxy } from '../../helpers/tcp-proxy.js'
import type { TcpProxy } from '../../helpers/tcp-proxy.js'

/** One server process with its own proxies to Redis and to PostgreSQL. */
export interface Member {
  index: number
  /** `null` while it is down. */
  origin: string | null
  redis: TcpProxy
  postgres: TcpProxy
  start (): Promise<void>
  /** SIGKILL. */
  kill (): Promise<void>
  freeze (): void
  thaw (): void
}

export interface Cluster {
  members: Member[]
  /** Unexpected exits. */
  crashes: string[]
}

export interface ClusterSettings {
  /** How much the clock of each server is ahead. */
  clocksMs: number[]
  database: string
  redisPort: number
  postgresPort: number
  options: Partial<AuthPluginOptions>
}

/** Starts a server for each clock, on one Redis and one PostgreSQL. Each has its own proxies, so that it can be cut off alone. */
export async function createCluster (t: Test, settings: ClusterSettings): Promise<Cluster> {
  const crashes: string[] = []
  const members = await Promise.all(settings.clocksMs.map((_, index) => createMember(t, index, settings, crashes)))
  await Promise.all(members.map((member) => member.start()))
  return { members, crashes }
}

async function createMember (t: Test, index: number, settings: ClusterSettings, crashes: string[]): Promise<Member> {
  const redis = await createTcpProxy(t, { port: settings.redisPort })
  const postgres = await createTcpProxy(t, { port: settings.postgresPort })
  const options = {
    ...settings.options,
    clockMs: settings.clocksMs[index],
    database: { connectionString: `postgres://postgres@127.0.0.1:${postgres.port}/${settings.database}` },
    redis: { url: `redis://127.0.0.1:${redis.port}` }
  }
  let child: ChildProcess | null = null

  const member: Member = {
    index,
    origin: null,
    redis,
    postgres,
    async start () {
      const started = spawn(process.execPath, [SERVER, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'], env: withoutLoaders() })
      child = started
      const ended = once(started, 'exit').then(([code, signal]) => {
        if (child !== started) return
        child = null
        member.origin = null
        crashes.push(`server ${index} ended by itself: ${String(code ?? signal)}`)
      })
      const port = await Promise.race([once(started.stdout!, 'data').then(String), ended])
      if (typeof port === 'string') member.origin = `http://127.0.0.1:${port.trim()}`
    },
    async kill () {
      const victim = child
      child = null
      member.origin = null
      if (victim === null || victim.exitCode !== null) return
      const exited = once(victim, 'exit')
      victim.kill('SIGKILL')
      await exited
    },
    freeze () { child?.kill('SIGSTOP') },
    thaw () { child?.kill('SIGCONT') }
  }
  t.teardown(member.kill)
  return member
}
