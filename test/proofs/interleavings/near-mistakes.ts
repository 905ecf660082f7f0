import { createDatabaseClock } from '../../../lib/tools/database-clock.js'
import { decodeMessage, encodeMessage } from '../../../lib/cache/messages.js'
import type { Message } from '../../../lib/cache/messages.js'
import type { NearSettings } from '../../../lib/cache/near.js'
import { createNearCache } from '../../../lib/cache/near-cache.js'
import { UNSEALED } from '../../../lib/crypto/seal.js'
import type { Member, MemberStore } from '../../../lib/ports.js'
import type { ChannelListener } from '../../../lib/tools/channel.js'
import type { RaceName } from './near-scenarios.js'
import type { Mistake } from './near-server.js'

export interface NearControl {
  /** The race that shows the mistake. */
  race: RaceName
  mistake: (name: string) => Mistake
  /** Of the sample. Default: 1. */
  seed?: number
}

const withList = (change: (members: Member[]) => Member[]) => (): Mistake => ({
  near: (settings) => ({ ...settings, members: { ...settings.members, list: async () => change(await settings.members.list()) } })
})

const encode = (message: Message) => encodeMessage(UNSEALED, message)
const decode = (text: string) => decodeMessage(UNSEALED, text)

/** Simpler protocols, each of which accepts a revoked token. */
export const NEAR_CONTROLS: Record<string, NearControl> = {
  'receivers of a message that are taken for acknowledgements': { race: 'an entry', mistake: countReceivers },
  'a message before the tombstone': { race: 'an entry, and another read', mistake: publishFirst, seed: 8 },
  'members that are listed before the commit': { race: 'without Redis, a server that joins and a read', mistake: () => listFirst('commit'), seed: 14 },
  'members that are listed before the tombstone, with servers that join without a catch-up': {
    race: 'a server that joins, and a read',
    mistake: () => listFirst('tombstone', { catchUp: async () => {} }),
    seed: 48
  },
  'a message before the commit': { race: 'without Redis, a read', mistake: () => ({ beforeCommit: (write) => write() }) },
  'a lease that counts from the reply': { race: 'an entry, and a renewal without messages', mistake: countFromReply },
  'reads under way that keep their right': { race: 'without Redis, a read', mistake: keepRights },
  'an acknowledgement before the drop': { race: 'an entry', mistake: acknowledgeFirst },
  'reads that fill without a membership': {
    race: 'without Redis, a server that joins and a read',
    mistake: () => ({ createMemory: (settings) => ({ ...createNearCache({ ...settings, mayFill: () => true }), leave () {} }) }),
    seed: 6
  },
  'entries that are kept at an expulsion': { race: 'an entry, and two renewals without messages', mistake: keepEntries },
  'entries that are kept at the loss of the subscription': { race: 'a subscription that breaks', mistake: keepEntries },
  'no wait after an expulsion': { race: 'an entry under a longer lease', mistake: withList((members) => members.map((member) => ({ ...member, leaseMs: 0 }))) },
  'a wait that is shorter than the lease': {
    race: 'an entry, and a renewal of a longer lease without messages',
    mistake: withList((members) => members.map((member) => ({ ...member, leaseMs: member.leaseMs / 2 }))),
    seed: 18
  },
  'no wait for who was expelled by others': { race: 'two revokers', mistake: withList((members) => members.filter(({ isExpelled }) => !isExpelled)), seed: 17 },
  'a tombstone and a message on two connections': { race: 'a Redis that is replaced', mistake: overlookReplacement, seed: 5 },
  'a server that joins without a catch-up': {
    race: 'a split Redis, and renewals',
    mistake: () => ({ near: (settings) => ({ ...settings, catchUp: async () => {} }) })
  },
  'a clock that stands still': { race: 'an entry', mistake: (name) => name === 'a' ? {} : standStill(), seed: 3 }
}

function countReceivers (): Mistake {
  let receivers: Member[] = []
  let listener: ChannelListener
  return {
    near: ({ channel, members, ...settings }) => ({
      ...settings,
      members: { ...members, list: async () => (receivers = await members.list()) },
      channel: {
        ...channel,
        open (given) { channel.open(listener = given) },
        async send (to, text) {
          await channel.send(to, text)
          const message = decode(text)
          if (message?.kind !== 'drop') return
          for (const { id: member } of receivers) listener.onMessage(encode({ kind: 'acknowledge', member, id: message.id }))
        }
      }
    })
  }
}

function publishFirst (): Mistake {
  return {
    consistency: ({ cache, withdraw, ...settings }) => ({
      ...settings,
      cache: { ...cache, async tombstone (digests, ttlMs) { await withdraw(digests); await cache.tombstone(digests, ttlMs) } },
      withdraw: async () => {}
    })
  }
}

function listFirst (before: 'commit' | 'tombstone', more: Partial<NearSettings> = {}): Mistake {
  let members: MemberStore
  let listed: Member[] = []
  const list = async () => { listed = await members.list() }
  return {
    near: (settings) => ({ ...settings, ...more, members: { ...(members = settings.members), list: async () => listed } }),
    beforeCommit: async () => { if (before === 'commit') await list() },
    consistency: ({ cache, ...settings }) => ({
      ...settings,
      cache: { ...cache, async tombstone (digests, ttlMs) { if (before === 'tombstone') await list(); await cache.tombstone(digests, ttlMs) } }
    })
  }
}

/** The same without the catch-up of who joins is a mistake. */
export const LISTED_FIRST: NearControl = { race: 'a server that joins, and a read', mistake: () => listFirst('tombstone') }

function countFromReply (): Mistake {
  return {
    near: ({ clock, ...settings }) => ({
      ...settings,
      clock: { ...clock, moment: () => ({ get wallMs () { return settings.now() }, get monotonicMs () { return settings.monotonicNow() } }) }
    })
  }
}

function keepRights (): Mistake {
  return {
    createMemory (settings) {
      const memory = createNearCache(settings)
      return { ...memory, settle: (read, found) => memory.settle(memory.begin(read.digest) ?? read, found), leave () {} }
    }
  }
}

// Its own acknowledgement is sent twice, so that there is a step between the first one and the drop.
function acknowledgeFirst (): Mistake {
  let member = ''
  return {
    near: ({ channel, members, ...settings }) => ({
      ...settings,
      members: { ...members, async join (id, leaseMs) { await members.join(member = id, leaseMs) } },
      channel: {
        ...channel,
        open (listener) {
          channel.open({
            ...listener,
            onMessage (text) {
              const message = decode(text)
              if (message?.kind !== 'drop') return listener.onMessage(text)
              const acknowledge = () => channel.send(message.from, encode({ kind: 'acknowledge', member, id: message.id }))
              acknowledge().then(acknowledge).then(() => listener.onMessage(text))
            }
          })
        }
      }
    })
  }
}

function keepEntries (): Mistake {
  return { createMemory: (settings) => ({ ...createNearCache(settings), clear () {}, leave () {} }) }
}

// Who counts the connections is the first to listen.
function overlookReplacement (): Mistake {
  let listeners = 0
  return {
    consistency: ({ cache, ...settings }) => ({
      ...settings,
      cache: { ...cache, onConnection (listener) { if (listeners++ > 0) cache.onConnection(listener) } }
    })
  }
}

function standStill (): Mistake {
  const clock = createDatabaseClock({ now: () => 0, monotonicNow: () => 0 })
  return { near: (settings) => ({ ...settings, clock, now: () => 0, monotonicNow: () => 0 }) }
}
