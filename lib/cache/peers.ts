import { randomBytes } from 'node:crypto'
import type { Seal } from '../crypto/seal.js'
import type { MemberStore } from '../ports.js'
import type { Channel } from '../tools/channel.js'
import type { Digest } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import type { Timing } from '../tools/timing.js'
import type { ReportFailure } from './availability.js'
import { decodeMessage, digestsIn, encodeMessage } from './messages.js'
import type { Message } from './messages.js'
import { createWithdrawal } from './withdrawal.js'
import type { Notice, Withdrawal } from './withdrawal.js'

/** The other servers, some of which answer from their memory. */
export interface Peers extends Pick<Withdrawal, 'withdraw'> {
  /** A new id for a membership of this server. */
  newMemberId (): string
  /** Receives messages from now on. */
  open (): void
  /** Rejects if a message of this server does not reach it within the time; then the connection is made anew. */
  checkChannel (timeoutMs: number): Promise<void>
  /** Makes the connection that receives anew. */
  renew (): void
  close (): Promise<void>
}

export interface PeersSettings {
  server: string
  channel: Channel
  /** Of messages: whoever can write to the channel is no server yet. */
  seal: Seal
  members: MemberStore
  /** The id of this server's membership, or `null`. */
  memberId: () => string | null
  /** Drops what this server has in memory about the tokens. */
  drop: (digests: readonly Digest[]) => void
  onUp: () => void
  onDown: () => void
  onFailure: ReportFailure
  monotonicNow: Now
  timing: Timing
}

/** How long a revocation waits for the connection that receives acknowledgements. */
const CONNECT_MS = 500

export function createServerId (): string {
  return randomBytes(9).toString('base64url')
}

export function openPeers ({ server, channel, seal, members, memberId, drop, onUp, onDown, onFailure, monotonicNow, timing }: PeersSettings): Peers {
  const echoes = new Map<string, () => void>()
  const waiting = new Set<() => void>()
  let isUp = false
  const listener = {
    onMessage,
    onUp () {
      isUp = true
      for (const connected of waiting) connected()
      waiting.clear()
      onUp()
    },
    onDown () {
      isUp = false
      onDown()
    }
  }
  const withdrawal = createWithdrawal({ members, isOwn: (member) => member.startsWith(`${server}.`), publish, perNotice: digestsIn(channel.maxLength), monotonicNow, timing })

  function inTime (heard: Promise<void>, timeoutMs: number): Promise<void> {
    return timing.withDeadline(heard, { timeoutMs, expired: () => new Error('messages of this server do not reach it') })
  }

  async function send (to: string | null, message: Message): Promise<void> {
    await channel.send(to, encodeMessage(seal, message))
  }

  // A server without a near cache receives messages from its first revocation on that meets another server with one.
  async function publish ({ id, digests }: Notice): Promise<void> {
    channel.open(listener)
    // Acknowledgements that are missed cost a lease, and nothing else.
    if (!isUp) await inTime(new Promise<void>((resolve) => waiting.add(resolve)), CONNECT_MS).catch(() => {})
    await send(null, { kind: 'drop', from: server, id, digests })
  }

  function onMessage (text: string): void {
    const message = decodeMessage(seal, text)
    if (message?.kind === 'echo') echoes.get(message.id)?.()
    else if (message?.kind === 'acknowledge') withdrawal.acknowledged(message.member, message.id)
    else if (message?.kind === 'drop' && message.from !== server) answer(message)
  }

  // Acknowledged after the tokens are dropped, and are not kept by reads that began before.
  function answer ({ from, id, digests }: Extract<Message, { kind: 'drop' }>): void {
    drop(digests)
    const member = memberId()
    if (member !== null) send(from, { kind: 'acknowledge', member, id }).catch((error) => onFailure('acknowledge', error))
  }

  return {
    withdraw: withdrawal.withdraw,
    newMemberId: () => `${server}.${randomBytes(9).toString('base64url')}`,
    open () { channel.open(listener) },
    async checkChannel (timeoutMs) {
      const id = randomBytes(9).toString('base64url')
      const heard = new Promise<void>((resolve) => echoes.set(id, resolve))
      try {
        await send(server, { kind: 'echo', id })
        await inTime(heard, timeoutMs)
      } catch (error) {
        channel.renew()
        throw error
      } finally {
        echoes.delete(id)
      }
    },
    renew: channel.renew,
    async close () {
      withdrawal.close()
      await channel.close()
    }
  }
}
