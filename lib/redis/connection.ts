/** The members of an ioredis client that are used to follow its connection. */
export interface Connection {
  on (event: 'ready' | 'close', listener: () => void): unknown
  readonly status: string
  readonly isCluster?: boolean
  readonly stream?: { destroy (error: Error): void }
}

interface ClusterNode {
  on (event: 'ready' | 'close', listener: () => void): unknown
  connect (): Promise<void>
  readonly status: string
  readonly stream?: { destroy (error: Error): void }
}

interface ClusterConnection extends Connection {
  on (event: 'ready' | 'close' | 'refresh', listener: () => void): unknown
  on (event: '+node', listener: (node: ClusterNode) => void): unknown
  nodes (role: 'all' | 'master'): ClusterNode[]
  refreshSlotsCache (): void
}

/** Called at every (re)connection and every loss. */
export type ConnectionListener = (connected: boolean) => void

export interface FollowedConnection {
  /** Call it when a reply says that the slot is on another server. */
  moved (): void
  /** Call it when the server is silent: drops the connection, so that a new one is made. */
  renew (): void
}

/** Follows a client: calls back at once if it is connected, then at every loss and every reconnection. */
export function followConnection (client: Connection, tell: ConnectionListener): FollowedConnection {
  if (client.isCluster === true) return followCluster(client as ClusterConnection, tell)
  client.on('ready', () => tell(true))
  client.on('close', () => tell(false))
  if (client.status === 'ready') tell(true)
  return { moved () {}, renew: () => breakOff(client) }
}

// Not `disconnect()`: it waits for the server to close its side.
function breakOff ({ stream }: Pick<Connection, 'stream'>): void {
  stream?.destroy(Object.assign(new Error('Redis is silent'), { code: 'ETIMEDOUT' }))
}

/** Delay after a loss before the slot map is refreshed; also the shortest interval while a master is down. */
const REMAP_MS = 250

/**
 * A Cluster's 'ready' and 'close' do not report that a master was replaced, possibly by a replica without the last writes.
 * So the Cluster counts as connected while every master is connected, and as reconnected when its masters have changed.
 */
function followCluster (cluster: ClusterConnection, tell: ConnectionListener): FollowedConnection {
  let isUp = false
  // Whether the master of each slot is among the nodes: a lost master is not.
  let isMapped = cluster.status === 'ready'
  let known = new Set<ClusterNode>()
  let timer: NodeJS.Timeout | undefined

  function look (): void {
    const masters = cluster.nodes('master')
    const stands = isMapped && cluster.status === 'ready' && masters.every(({ status }) => status === 'ready')
    const isChanged = stands ? !isUp || masters.some((master) => !known.has(master)) : isUp
    isUp = stands
    known = new Set(masters)
    if (isChanged) tell(stands)
  }

  // ioredis connects a node when it has a command for it; without that, the state of a master would stay unknown.
  // Not before the Cluster is ready, because its check needs a node that is not connecting yet.
  function connectMasters (): void {
    if (cluster.status !== 'ready') return
    for (const master of cluster.nodes('master')) if (master.status === 'wait') master.connect().catch(() => {})
  }

  function remap (): void {
    timer ??= setTimeout(() => {
      timer = undefined
      // While it reconnects, the Cluster refreshes the map by itself.
      if (cluster.status === 'ready') cluster.refreshSlotsCache()
    }, REMAP_MS).unref()
  }

  function lose (): void {
    isMapped = false
    look()
    remap()
  }

  function follow (node: ClusterNode): void {
    node.on('ready', look)
    node.on('close', () => { if (cluster.nodes('master').includes(node)) lose() })
  }

  function begin (): void {
    connectMasters()
    look()
  }

  cluster.nodes('all').forEach(follow)
  cluster.on('+node', follow)
  cluster.on('refresh', () => {
    isMapped = true
    begin()
  })
  cluster.on('ready', begin)
  cluster.on('close', lose)
  if (isMapped) begin()
  return { moved: remap, renew: () => cluster.nodes('master').forEach(breakOff) }
}
