import type { Seal } from '../crypto/seal.js'
import type { Digest } from '../../types/cache.js'

/**
 * What servers send each other. `drop`: these tokens have changed or ended, `from` waits for the acknowledgement of each member. `echo`: a server
 * tests whether its own messages reach it.
 */
export type Message =
  | { kind: 'drop', from: string, id: string, digests: Digest[] }
  | { kind: 'acknowledge', member: string, id: string }
  | { kind: 'echo', id: string }

/** Length of a digest and of the comma after it. */
const PER_DIGEST = 44
/** More than the rest of a message needs, with its seal. */
const REST = 200

/** How many digests fit into a message. */
export function digestsIn (maxLength: number): number {
  return Math.floor((maxLength - REST) / PER_DIGEST)
}

/** @throws if the server key is not available */
export function encodeMessage (seal: Seal, message: Message): string {
  const sealed = seal.close(fieldsOf(message).join(' '))
  if (sealed === null) throw new Error('the server key has not been read yet')
  return sealed
}

function fieldsOf (message: Message): string[] {
  if (message.kind === 'drop') return [message.kind, message.from, message.id, message.digests.join(',')]
  return message.kind === 'echo' ? [message.kind, message.id] : [message.kind, message.member, message.id]
}

/** `null` unless a server has sent it: anybody may write to the channel. */
export function decodeMessage (seal: Seal, text: string): Message | null {
  const [kind, first, second, digests] = seal.open(text)?.split(' ') ?? []
  if (kind === 'echo' && first !== undefined) return { kind, id: first }
  if (second === undefined || first === undefined) return null
  if (kind === 'acknowledge') return { kind, member: first, id: second }
  return kind === 'drop' && digests !== undefined ? { kind, from: first, id: second, digests: digests.split(',') } : null
}
