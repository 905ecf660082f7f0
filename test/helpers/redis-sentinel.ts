import type { Test } from 'tap'
import { field, HOST, replicated, startFleet } from './redis-fleet.js'
import { freePorts } from './ports.js'
import type { Fleet } from './redis-fleet.js'
import { until } from './until.js'

const NAME = 'fta'
const DOWN_AFTER_MS = 1000
const REPLICAS = 2
const SENTINELS = 3
const QUORUM = 2

export interface RedisSentinel extends Fleet {
  /** Options for ioredis. */
  options: { sentinels: { host: string, port: number }[], name: string }
  sentinels: number[]
  freezeSentinel (port: number): void
  killSentinel (port: number): void
  /** The first is promoted when the master dies, the others never are. */
  replicas: number[]
  /** The port of the master, as the last Sentinel reports it. */
  master (): Promise<number>
  /** Resolves when another server is the master and accepts writes. */
  failedOver (from: number): Promise<void>
  /** Resolves when the replica is in step with the master. */
  follows (replica: number, master: number): Promise<void>
  replicated (master: number): Promise<void>
}

/** Starts a master, two replicas and three Sentinels. A master that dies is replaced after about two seconds. */
export async function startRedisSentinel (t: Test): Promise<RedisSentinel> {
  const ports = await freePorts(1 + REPLICAS + SENTINELS)
  const first = ports[0]!
  const replicas = ports.slice(1, 1 + REPLICAS)
  const sentinels = ports.slice(1 + REPLICAS)
  const memoryOnly = ['save ""', 'appendonly no', 'repl-diskless-sync-delay 0']
  const watch = [`monitor ${NAME} ${HOST} ${first} ${QUORUM}`, `down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`, `failover-timeout ${NAME} 1000`]
  const fleet = await startFleet(t, [
    { port: first, lines: memoryOnly },
    ...replicas.map((port, i) => ({ port, lines: [...memoryOnly, `replicaof ${HOST} ${first}`, `replica-priority ${i === 0 ? 10 : 0}`] }))
  ])
  const isInStep = async (port: number) => field(await fleet.ask(port, 'INFO', 'replication'), 'master_link_status') === 'up'
  for (const port of replicas) await until(() => isInStep(port), 'the replica is in step')
  // Started later, because a Sentinel that finds the master before its replicas checks again only after ten seconds.
  const guards = await startFleet(t, sentinels.map((port) => ({ port, isSentinel: true, lines: watch.map((line) => `sentinel ${line}`) })))
  const { ask } = fleet
  const last = sentinels.at(-1)!

  async function master (): Promise<number> {
    const [, port] = await ask(last, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)
    return Number(port)
  }

  // The Sentinels find the replicas and each other through the master.
  const all = `slaves=${REPLICAS},sentinels=${SENTINELS}`
  for (const port of sentinels) await until(async () => String(await ask(port, 'INFO', 'sentinel')).includes(all), 'the sentinel knows all servers')

  return {
    ...fleet,
    freezeSentinel: guards.freeze,
    killSentinel: guards.kill,
    options: { sentinels: sentinels.map((port) => ({ host: HOST, port })), name: NAME },
    sentinels,
    replicas,
    master,
    async failedOver (from) {
      await until(async () => await master() !== from, 'the sentinels have another master')
      const now = await master()
      await until(async () => field(await ask(now, 'INFO', 'replication'), 'role') === 'master', 'it takes writes')
    },
    async follows (replica, master) {
      await until(async () => {
        const info = await ask(replica, 'INFO', 'replication')
        return field(info, 'master_port') === String(master) && field(info, 'master_link_status') === 'up'
      }, 'the replica is in step')
    },
    replicated: (master) => replicated(fleet, master)
  }
}
