import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { until } from './until.js'

export const HOST = '127.0.0.1'

/** The port of a server, and more lines of its redis.conf. */
export interface ServerConfig { port: number, isSentinel?: boolean, lines: string[] }

export interface Fleet {
  /** Sends a command to one server, which may be a replica. */
  ask (port: number, command: string, ...args: (string | number)[]): Promise<any>
  /** SIGKILL. */
  kill (port: number): void
  /** SIGSTOP: its connections stay open, and nothing is answered. */
  freeze (port: number): void
  thaw (port: number): void
  /** The servers that answer: neither killed nor frozen. */
  living (): number[]
}

// The shell outlives a test process that dies: then its input ends, and it kills the servers.
const SHELL = `cd "$1" || exit 1
for file in *.conf; do
  case $file in sentinel-*) set -- --sentinel ;; *) set -- ;; esac
  "$REDIS_SERVER_BIN" "$PWD/$file" "$@" >/dev/null 2>&1 &
  pids="$pids $!"
  echo "$file $!"
done
read -r end
kill -9 $pids
wait
rm -rf "$PWD"`

/** Starts servers in their own directory. They are killed when the test or its process ends. */
export async function startFleet (t: Test, configs: ServerConfig[]): Promise<Fleet> {
  const dir = await mkdtemp(join(tmpdir(), 'fta-redis-'))
  for (const { port, isSentinel = false, lines } of configs) {
    const common = [`port ${port}`, `bind ${HOST}`, `dir ${dir}`, 'daemonize no']
    await writeFile(join(dir, `${isSentinel ? 'sentinel' : 'server'}-${port}.conf`), [...common, ...lines, ''].join('\n'))
  }
  const env = { REDIS_SERVER_BIN: 'redis-server', ...process.env }
  const shell = spawn('sh', ['-c', SHELL, 'sh', dir], { stdio: ['pipe', 'pipe', 'ignore'], detached: true, env })
  const exited = once(shell, 'exit')
  t.teardown(async () => {
    shell.stdin.end()
    await exited
  })

  const pids = new Map<number, number>()
  for await (const line of createInterface(shell.stdout)) {
    const [, port, pid] = /-(\d+)\.conf (\d+)$/.exec(line)!
    pids.set(Number(port), Number(pid))
    if (pids.size === configs.length) break
  }
  const frozen = new Set<number>()
  const signal = (port: number, name: NodeJS.Signals) => { process.kill(pids.get(port)!, name) }

  async function ask (port: number, command: string, ...args: (string | number)[]): Promise<any> {
    const client = new Redis(port, HOST, { lazyConnect: true, readOnly: true, retryStrategy: () => null, enableReadyCheck: false, commandTimeout: 10_000 })
    client.on('error', () => {})
    try {
      return await client.call(command, ...args)
    } finally {
      client.disconnect()
    }
  }

  const isUp = (port: number) => ask(port, 'PING').then(() => true, () => false)
  for (const { port } of configs) await until(() => isUp(port), `redis-server answers on ${port}`)

  return {
    ask,
    kill (port) {
      signal(port, 'SIGKILL')
      pids.delete(port)
    },
    freeze (port) {
      signal(port, 'SIGSTOP')
      frozen.add(port)
    },
    thaw (port) {
      signal(port, 'SIGCONT')
      frozen.delete(port)
    },
    living: () => [...pids.keys()].filter((port) => !frozen.has(port))
  }
}

/** A field of INFO or CLUSTER INFO. */
export function field (info: string, name: string): string | undefined {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
}

/** Cuts replicas off: they keep their data and receive no more. Their master must be alive. */
export async function cutReplication ({ ask }: Fleet, master: number, replicas: number[]): Promise<void> {
  // Their master has no password, so it refuses them when they reconnect.
  for (const replica of replicas) await ask(replica, 'CONFIG', 'SET', 'masterauth', 'wrong')
  await ask(master, 'CLIENT', 'KILL', 'TYPE', 'replica')
  const isCut = async (port: number) => field(await ask(port, 'INFO', 'replication'), 'master_link_status') === 'down'
  for (const replica of replicas) await until(() => isCut(replica), 'the replica is cut off')
}

/** Resolves when every replica has all data of the master. */
export async function replicated ({ ask }: Fleet, master: number): Promise<void> {
  const info = await ask(master, 'INFO', 'replication')
  const ahead = Number(field(info, 'master_repl_offset'))
  for (let i = 0; i < Number(field(info, 'connected_slaves')); i++) {
    const port = Number(/port=(\d+)/.exec(field(info, `slave${i}`)!)![1])
    await until(async () => Number(field(await ask(port, 'INFO', 'replication'), 'slave_repl_offset')) >= ahead, 'the replica has what its master has')
  }
}
