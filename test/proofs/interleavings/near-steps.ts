import type { Independent, Step } from '../../../lib/testing/index.js'

/** What a step reads or writes, together with the code that its server runs before its next step. */
type Touched = Map<string, 'reads' | 'writes'>

/** The part of a process name before the server. */
const roleOf = ({ process }: Step) => process.replace(/( on)? [abc]$/, '')
const serverOf = ({ process }: Step) => / ([abc])$/.exec(process)?.[1] ?? null

const READS = new Set(['get', 'find', 'listStale', 'list', 'isMember'])
const REVOKERS = new Set(['logout', 'refresh'])
/** They register a server, and then look at the clock. */
const REGISTERING = new Set(['renewal', 'subscriber', 'failover'])

/** Steps after which nothing happens until another step. */
function isQuiet (step: Step): boolean {
  const { port, call, isReply } = step
  if (call === 'find' || call === 'isMember') return !isReply
  if (call === 'remove') return !REVOKERS.has(roleOf(step))
  return call === 'fill' || (port === 'wire' && call === 'publish' && roleOf(step) === 'network to')
}

/** The ends of entries do not count: no schedule lasts that long. */
function looksAtClock (step: Step, leaseRedis: boolean): boolean {
  const [role, { port, call }] = [roleOf(step), step]
  if (call === 'listStale') return REGISTERING.has(role)
  if (port === 'sql' || call === 'isMember' || call === 'remove' || call === 'cut') return false
  if (port === 'cache') return REGISTERING.has(role) || (leaseRedis && role.includes('reader'))
  // Only a revoker waits for a message.
  return role !== 'network to' || (call === 'deliver' && serverOf(step) !== 'b')
}

function touchedBy (step: Step, leaseRedis: boolean): Touched {
  const { process, port, call, isReply } = step
  const touched: Touched = new Map()
  if (process === 'clock') return touched.set('time', 'writes')
  const server = serverOf(step)
  if (server !== null && !isQuiet(step)) touched.set(`memory of ${server}`, 'writes')
  if (looksAtClock(step, leaseRedis)) touched.set('time', 'reads')
  if (isReply) return touched
  if (port !== 'wire' && port !== 'event') touched.set(port, READS.has(call) ? 'reads' : 'writes')
  if (port === 'wire' && call !== 'publish') touched.set(`messages to ${server}`, 'writes')
  if (call === 'publish') for (const to of ['a', 'b', 'c']) touched.set(`messages to ${to}`, 'writes')
  // The Redis that a server is connected to.
  if (server !== null) touched.set(`place of ${server}`, call === 'failover' ? 'writes' : 'reads')
  if (call === 'failover') touched.set(`messages to ${server}`, 'writes')
  return touched
}

/** Two steps may be swapped if neither writes what the other reads or writes. */
export function independentIn ({ leaseRedis = false }: { leaseRedis?: boolean }): Independent {
  const known = new Map<string, Touched>()
  const touches = (step: Step) => known.get(step.label) ?? known.set(step.label, touchedBy(step, leaseRedis)).get(step.label)!
  return (one, other) => ![...touches(one)].some(([part, access]) => {
    const otherAccess = touches(other).get(part)
    return otherAccess !== undefined && (access === 'writes' || otherAccess === 'writes')
  })
}
