import t from 'tap'
import { createLease } from '../../lib/cache/lease.js'
import { createMembership } from '../../lib/cache/membership.js'
import { decodeMessage, encodeMessage } from '../../lib/cache/messages.js'
import type { Message } from '../../lib/cache/messages.js'
import { createWithdrawal } from '../../lib/cache/withdrawal.js'
import { createSeal, UNSEALED } from '../../lib/crypto/seal.js'
import { PreparedClient } from '../../lib/index.js'
import { withoutRefusedLimits } from '../../lib/sql/startup-parameters.js'
import { TIMERS } from '../../lib/tools/timing.js'
import { createSubscription } from '../../lib/tools/subscription.js'
import type { Receiver } from '../../lib/tools/subscription.js'
import { deferred } from '../helpers/deferred.js'
import { freePort } from '../helpers/ports.js'
import { until } from '../helpers/until.js'

t.test('messages of servers', async (t) => {
  const key = new Uint8Array(32)
  const seal = createSeal({ current: () => key, load: async () => key }, 'message')
  const messages: Message[] = [
    { kind: 'drop', from: 'server', id: 'notice', digests: ['one', 'two'] },
    { kind: 'acknowledge', member: 'server.1', id: 'notice' },
    { kind: 'echo', id: 'echo' }
  ]
  for (const one of [seal, UNSEALED]) for (const message of messages) t.same(decodeMessage(one, encodeMessage(one, message)), message)
  for (const text of ['', 'echo', 'drop', 'drop server notice', 'acknowledge server.1', 'other a b c']) t.equal(decodeMessage(UNSEALED, text), null, text)
  t.equal(decodeMessage(seal, encodeMessage(UNSEALED, messages[0]!)), null, 'nobody else can send one')
  const unread = createSeal({ current: () => null, load: async () => key }, 'message')
  t.throws(() => encodeMessage(unread, messages[0]!), { message: 'the server key has not been read yet' })
})

t.test('a subscription connects again after every failure and loss, but not when it is closed', async (t) => {
  const ready: ReturnType<typeof deferred<void>>[] = []
  const seen: string[] = []
  const lose: (() => void)[] = []
  const receive: ((message: string) => void)[] = []
  let isBroken = true
  const subscription = createSubscription({
    onFailure: ({ message }) => seen.push(message),
    connect (onMessage, onLost): Receiver {
      if (isBroken) throw new Error('nowhere to connect to')
      const one = deferred<void>()
      const number = ready.push(one)
      lose.push(onLost)
      receive.push(onMessage)
      return { ready: one.promise, close: () => seen.push(`closed ${number}`) }
    }
  })
  subscription.renew()
  const listener = { onMessage: (message: string) => seen.push(message), onUp: () => seen.push('up'), onDown: () => seen.push('down') }
  subscription.open(listener)
  subscription.open(listener)
  t.same(seen.splice(0), ['nowhere to connect to'])
  isBroken = false
  await until(() => ready.length === 1, 'a first connection')
  ready[0]!.reject(new Error('refused'))
  await until(() => ready.length === 2, 'a second one')
  t.same(seen.splice(0), ['refused', 'closed 1'])
  ready[1]!.resolve()
  await until(() => seen.length === 1, 'it is up')
  receive[0]!('of the lost connection')
  receive[1]!('a message')
  lose[0]!()
  lose[1]!()
  lose[1]!()
  t.same(seen.splice(0), ['up', 'a message', 'closed 2', 'down'])
  await until(() => ready.length === 3, 'a third one')
  subscription.renew()
  ready[2]!.reject(new Error('late'))
  await until(() => ready.length === 4, 'a fourth one')
  ready[3]!.resolve()
  await until(() => seen.includes('up'), 'it is up')
  subscription.close()
  subscription.open(listener)
  t.same(seen.splice(0), ['closed 3', 'up', 'closed 4', 'down'])
})

t.test('a registration that a loss overtakes leaves no row', async (t) => {
  const [checked, joined, prepared, renewed] = [deferred<void>(), deferred<void>(), deferred<void>(), deferred<void>()]
  const removed: string[] = []
  let ids = 0
  const membership = createMembership({
    lease: createLease(),
    leaseMs: 60_000,
    clock: { moment: () => ({ wallMs: 0, monotonicMs: 0 }) },
    newId: () => `id ${++ids}`,
    members: {
      join: async (id) => {
        if (id === 'id 1') await joined.promise
        if (id === 'id 4') throw new Error('no database')
      },
      isMember: async (id) => {
        if (id === 'id 5') await renewed.promise
        return true
      },
      list: async () => [],
      expel: async () => {},
      remove: async (ids) => { removed.push(...ids) }
    },
    checkChannel: async () => { if (ids === 2) await checked.promise },
    prepare: async () => { if (ids === 3) await prepared.promise },
    forget () {},
    onFailure () {},
    timing: TIMERS
  })
  membership.connected()
  await until(() => membership.id === 'id 1', 'it registers')
  membership.lost()
  t.same(removed.splice(0), ['id 1'])
  joined.resolve()
  await until(() => removed.length === 1, 'the row that was written later is removed')
  t.same(removed.splice(0), ['id 1'])

  membership.connected()
  await until(() => membership.id === 'id 2', 'it registers')
  membership.lost()
  checked.reject(new Error('no echo'))
  await until(() => removed.length === 2, 'it is removed')
  t.same(removed.splice(0), ['id 2', 'id 2'])

  membership.connected()
  await until(() => membership.id === 'id 3', 'it registers')
  t.notOk(membership.mayFill())
  prepared.resolve()
  await until(() => membership.mayFill(), 'it is a member')
  membership.lost()
  t.notOk(membership.mayFill())

  membership.connected()
  await until(() => ids === 4 && membership.id === null, 'the database refuses it')
  membership.connected()
  await until(() => membership.id === 'id 5', 'it registers')
  await new Promise(setImmediate)
  membership.lost()
  renewed.resolve()
  await new Promise(setImmediate)
  t.notOk(membership.mayFill(), 'the answer is too late')
  await membership.close()
})

t.test('an acknowledgement that nobody waits for is ignored', (t) => {
  const withdrawal = createWithdrawal({
    members: { list: async () => [], expel: async () => {}, remove: async () => {} },
    isOwn: () => false,
    publish: async () => {},
    perNotice: 1,
    monotonicNow: () => 0,
    timing: TIMERS
  })
  withdrawal.acknowledged('member', 'notice')
  withdrawal.close()
  t.end()
})

t.test('a client with time limits may be connected without a callback', async (t) => {
  const Client = withoutRefusedLimits(PreparedClient, () => {})
  const client = new Client({ host: '127.0.0.1', port: await freePort() })
  await t.rejects(client.connect(), { code: 'ECONNREFUSED' })
})
