/** What is asked of an ioredis client to follow its connection. */
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

/** Told of every (re)connection and every loss. */
export type ConnectionListener = (connected: boolean) => void

export interface FollowedConnection {
  /** To be called when a command was answered that its slot is elsewhere. */
  moved (): void
  /** To be called when the server is silent: breaks the connection, so that another is made. */
  renew (): void
}

/** Follows a client: at once if its connection stands, then at every loss and every return. */
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

/** How long after a loss the map of the slots is asked for: at most so often while a master is away. */
const REMAP_MS = 250

/**
 * A Cluster's own 'ready' and 'close' don't tell that one master was replaced, maybe by a replica that lacks the last writes.
 * So it counts as connected while every master's connection stands, and as reconnected when there is another master than before.
 */
function followCluster (cluster: ClusterConnection, tell: ConnectionListener): FollowedConnection {
  let isUp = false
  // Whether each slot's master is among the nodes: one that is lost is no longer.
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

  // ioredis connects a node when it has a command for it; a master that is not tried would not be known to be there.
  // Not before the Cluster is ready, since its check needs a node that nobody has begun to connect.
  function connectMasters (): void {
    if (cluster.status !== 'ready') return
    for (const master of cluster.nodes('master')) if (master.status === 'wait') master.connect().catch(() => {})
  }

  function remap (): void {
    timer ??= setTimeout(() => {
      timer = undefined
      // While it connects again, the Cluster asks by itself.
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
