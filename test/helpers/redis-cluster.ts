import { Cluster } from 'ioredis'
import type { ClusterOptions } from 'ioredis'
import type { Test } from 'tap'
import { field, HOST, replicated, startFleet } from './redis-fleet.js'
import { freePorts } from './ports.js'
import type { Fleet } from './redis-fleet.js'
import { until } from './until.js'

const NODE_TIMEOUT_MS = 1000
const SLOTS = 16_384
const MASTERS = 3

const MEMORY_ONLY = ['save ""', 'appendonly no', 'repl-diskless-sync-delay 0', 'repl-ping-replica-period 1']

export interface RedisCluster extends Fleet {
  /** Creates a client as a host does. It is closed when the test ends. */
  connect (t: Test, options?: ClusterOptions): Cluster
  /** The port of the master that has the key. */
  masterOf (key: string): Promise<number>
  /** The port of the master's replica; `null` if none is alive. */
  replicaOf (master: number): Promise<number | null>
  /** Moves a key with its slot to another master. */
  move (key: string, to: number): Promise<void>
  /** Resolves when, in the view of every living server, a living master serves every slot. */
  healthy (): Promise<void>
  /** Resolves when the replica has all data of its master. */
  replicated (master: number): Promise<void>
}

/** Starts three masters with a replica each. A master that dies is replaced after about two seconds. */
export async function startRedisCluster (t: Test): Promise<RedisCluster> {
  const ports = await freePorts(4 * MASTERS)
  const servers = ports.slice(0, 2 * MASTERS)
  const busOf = (port: number) => ports[servers.indexOf(port) + servers.length]!
  const fleet = await startFleet(t, servers.map((port) => ({
    port,
    lines: [...MEMORY_ONLY, 'cluster-enabled yes', `cluster-port ${busOf(port)}`, `cluster-config-file nodes-${port}.conf-state`,
      `cluster-node-timeout ${NODE_TIMEOUT_MS}`, 'cluster-replica-validity-factor 0', 'cluster-allow-replica-migration no']
  })))
  await join(fleet, servers, busOf)

  /** [first slot, last slot, master, replica] in the view of this server, without replicas that are down. */
  const slotsOf = (port: number): Promise<[number, number, [string, number], [string, number]?][]> => fleet.ask(port, 'CLUSTER', 'SLOTS')

  async function isHealthy (port: number, living: number[]): Promise<boolean> {
    const ranges = await slotsOf(port)
    return field(await fleet.ask(port, 'CLUSTER', 'INFO'), 'cluster_state') === 'ok' && ranges.every(([, , [, master]]) => living.includes(master))
  }

  async function masterOf (key: string): Promise<number> {
    const any = fleet.living()[0]!
    const slot: number = await fleet.ask(any, 'CLUSTER', 'KEYSLOT', key)
    return (await slotsOf(any)).find(([first, last]) => slot >= first && slot <= last)![2][1]
  }

  async function replicaOf (master: number): Promise<number | null> {
    const [, , , replica] = (await slotsOf(master)).find(([, , [, port]]) => port === master)!
    return replica?.[1] ?? null
  }

  async function move (key: string, to: number): Promise<void> {
    const from = await masterOf(key)
    const slot: number = await fleet.ask(from, 'CLUSTER', 'KEYSLOT', key)
    const [source, target] = [String(await fleet.ask(from, 'CLUSTER', 'MYID')), String(await fleet.ask(to, 'CLUSTER', 'MYID'))]
    await fleet.ask(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', source)
    await fleet.ask(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', target)
    await fleet.ask(from, 'MIGRATE', HOST, to, key, 0, 5000)
    for (const port of [to, from]) await fleet.ask(port, 'CLUSTER', 'SETSLOT', slot, 'NODE', target)
  }

  return {
    ...fleet,
    connect (t, options = {}) {
      const cluster = new Cluster(servers.map((port) => ({ host: HOST, port })), { ...options, lazyConnect: true })
      cluster.on('error', () => {})
      t.teardown(() => cluster.disconnect())
      return cluster
    },
    masterOf,
    replicaOf,
    move,
    async healthy () {
      const living = fleet.living()
      for (const port of living) await until(() => isHealthy(port, living), `${port} has every slot served`)
    },
    replicated: (master) => replicated(fleet, master)
  }
}

async function join ({ ask }: Fleet, servers: number[], busOf: (port: number) => number): Promise<void> {
  const [first, ...others] = servers as [number, ...number[]]
  const share = Math.ceil(SLOTS / MASTERS)
  const masters = servers.slice(0, MASTERS)
  for (const [i, port] of masters.entries()) await ask(port, 'CLUSTER', 'ADDSLOTSRANGE', i * share, Math.min((i + 1) * share, SLOTS) - 1)
  for (const [i, port] of servers.entries()) await ask(port, 'CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
  for (const port of others) await ask(port, 'CLUSTER', 'MEET', HOST, first, busOf(first))
  const clusterInfo = async (port: number, name: string) => field(await ask(port, 'CLUSTER', 'INFO'), name)
  for (const port of servers) await until(async () => await clusterInfo(port, 'cluster_known_nodes') === String(servers.length), 'all servers have met')
  for (const [i, port] of servers.slice(MASTERS).entries()) {
    const master = String(await ask(masters[i]!, 'CLUSTER', 'MYID'))
    await until(() => ask(port, 'CLUSTER', 'REPLICATE', master).then(() => true, () => false), 'the replica knows its master')
    await until(async () => field(await ask(port, 'INFO', 'replication'), 'master_link_status') === 'up', 'the replica is in step')
  }
  for (const port of servers) await until(async () => await clusterInfo(port, 'cluster_state') === 'ok', 'the cluster is up')
}
