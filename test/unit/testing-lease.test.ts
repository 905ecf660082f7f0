import t from 'tap'
import { createTestClock, exploreInterleavings } from '../../lib/testing/index.js'
import type { Exploration, InterleavingReport, Step, Wrap } from '../../lib/testing/index.js'

/** How long the revoker waits for the acknowledgement, and how long a lease lasts. */
const [ACK_MS, LEASE_MS] = [1, 2]

interface Rules {
  /** Whether the revoker waits for the end of the lease of a member that it expels. */
  waitsForLease: boolean
  /** The instant from which the member counts its lease. */
  countsFrom: 'request' | 'reply'
  /** Whether the member drops its entry before it acknowledges. */
  dropsFirst: boolean
}

const RIGHT: Rules = { waitsForLease: true, countsFrom: 'request', dropsFirst: true }

type Message = 'invalidation' | 'acknowledgement'
type World = ReturnType<typeof createWorld>

/** A member that may answer from its entry while it has a lease, the row that the lease depends on, and messages in both directions. */
function createWorld (wrap: Wrap, rules: Rules) {
  const clock = createTestClock(wrap, { spareTicks: 0 })
  const member = { hasEntry: true, leaseEndsAt: 0, isListed: true }
  const sent: Message[] = []
  const arrived: Record<Message, number> = { invalidation: 0, acknowledgement: 0 }
  const rows = wrap('rows', {
    renew: async () => member.isListed,
    expel: async () => { member.isListed = false }
  }, { replies: ['renew'] })
  const wire = wrap('wire', {
    publish: async () => { sent.push('invalidation') },
    acknowledge: async () => { sent.push('acknowledgement') },
    deliver: async () => { arrived[sent.shift()!]++ }
  }, { replies: ['acknowledge'], when: { deliver: () => sent.length > 0 } })
  const inbox = wrap('inbox', {
    receive: async (message: Message, _options?: { signal: AbortSignal }) => { arrived[message]-- }
  }, { when: { receive: (message) => arrived[message] > 0 } })
  const requests = wrap('requests', { begin: async () => {} })
  return { rules, clock, member, rows, wire, inbox, requests }
}

async function renew ({ rules, clock, rows, member }: World): Promise<void> {
  await clock.pause(0)
  const askedAt = clock.now()
  if (await rows.renew()) member.leaseEndsAt = (rules.countsFrom === 'request' ? askedAt : clock.now()) + LEASE_MS
  else member.hasEntry = false
}

async function listen ({ rules, inbox, member, wire }: World): Promise<void> {
  for (;;) {
    await inbox.receive('invalidation')
    if (rules.dropsFirst) member.hasEntry = false
    await wire.acknowledge()
    member.hasEntry = false
  }
}

async function revoke ({ rules, clock, wire, inbox, rows }: World): Promise<void> {
  await wire.publish()
  const over = new AbortController()
  const isAcknowledged = await Promise.race([
    inbox.receive('acknowledgement', over).then(() => true),
    clock.pause(ACK_MS, over).then(() => false)
  ])
  over.abort()
  if (isAcknowledged) return
  await rows.expel()
  if (rules.waitsForLease) await clock.pause(LEASE_MS)
}

async function readLate ({ requests, member, clock }: World): Promise<void> {
  await requests.begin()
  if (member.hasEntry && clock.now() < member.leaseEndsAt) throw new Error('accepted after the revocation')
}

/** What each step, with the code of its process that follows it, reads or writes. */
const TOUCHED: Record<string, string> = {
  'renewal: clock.pause': 'time',
  'renewal: rows.renew': 'row',
  'renewal: rows.renew reply': 'entry time',
  'listener: inbox.receive': 'invalidation entry',
  'listener: wire.acknowledge': 'sent',
  'listener: wire.acknowledge reply': 'entry',
  'network: wire.deliver': 'sent invalidation acknowledgement',
  'revoker: wire.publish': 'sent time',
  'revoker: inbox.receive': 'acknowledgement time',
  'revoker: clock.pause': 'time',
  'revoker: rows.expel': 'row time',
  'clock: clock.tick': 'time',
  'late reader: requests.begin': 'entry time'
}

const touchedBy = ({ label }: Step) => TOUCHED[label.replace(/ #\d+$/, '')]!.split(' ')

const independent = (one: Step, other: Step) => !touchedBy(one).some((part) => touchedBy(other).includes(part))

async function explore (rules: Partial<Rules>, more: Partial<Exploration<World>> = {}): Promise<InterleavingReport> {
  return await exploreInterleavings<World>({
    setup: (wrap) => createWorld(wrap, { ...RIGHT, ...rules }),
    processes: {
      renewal: renew,
      revoker: revoke,
      'late reader': { after: 'revoker', run: readLate },
      listener: { isDaemon: true, run: listen },
      network: { isDaemon: true, run: async ({ wire }) => { for (;;) await wire.deliver() } },
      clock: { isDaemon: true, run: async ({ clock }) => await clock.run() }
    },
    independent,
    ...more
  })
}

t.test('a member that keeps the rules answers nothing from its entry after the revocation, in any order', async (t) => {
  const { schedules, orders, violations } = await explore({})
  t.same(violations, [])
  t.comment(`${schedules} schedules for ${orders} orders`)
  t.ok(schedules > 400 && orders > 800_000)
})

const MISTAKES: Record<string, Partial<Rules>> = {
  'a revoker that does not wait for the lease': { waitsForLease: false },
  'a member that counts its lease from the reply': { countsFrom: 'reply' },
  'a member that acknowledges before it drops its entry': { dropsFirst: false }
}

for (const [name, rules] of Object.entries(MISTAKES)) {
  t.test(`${name} is caught, and the schedule shows it again`, async (t) => {
    const { violations: [first] } = await explore(rules, { stopAtFirst: true })
    t.equal(first?.message, 'late reader: accepted after the revocation')
    t.comment(first!.schedule.join(', '))
    t.same((await explore(rules, { schedule: first!.schedule })).violations, [first])
    const sampled = await explore(rules, { sample: { schedules: 5000 }, stopAtFirst: true })
    t.equal(sampled.violations.length, 1, `a sample finds it in ${sampled.schedules} schedules`)
  })
}
