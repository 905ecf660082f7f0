import type { Redis } from 'ioredis'
import type { Random } from './random.js'

/** Values that no server writes: empty text, other shapes, other versions, an entry without a seal, leases of other readers. */
const GARBAGE = ['', 'garbage', 'V', 'V{', 'V{}', 'V[]', 'Vnull', 'V{"v":1}', 'Lsomebody:1', 'RR', '\0', '0'.repeat(100_000)]
/** 32 bytes in base64url, before the text of an entry. */
const TAG_LENGTH = 43
const LIFE_MS = 1500

/** A live token's entry, as a server wrote it. */
interface Entry { digest: string, user: unknown, value: string }

/** Every key of the cache. */
export async function keysOf (client: Redis, namespace: string): Promise<string[]> {
  const keys: string[] = []
  for await (const page of client.scanStream({ match: `${namespace}t:*`, count: 1000 })) keys.push(...page as string[])
  return keys
}

/** Replaces every value with garbage. */
export async function scribble (client: Redis, keys: string[], random: Random): Promise<void> {
  await Promise.all(keys.map(async (key, index) => {
    if (index % 7 === 3) return await client.multi().del(key).lpush(key, 'garbage').pexpire(key, 1000).exec()
    return await client.set(key, random.pick(GARBAGE), 'PX', LIFE_MS)
  }))
}

/**
 * Writes a genuine entry of another token to every key, including tombstones: of the same user if there is
 * one, or of another user.
 */
export async function misplace (client: Redis, keys: string[], random: Random): Promise<void> {
  const values = await Promise.all(keys.map((key) => client.get(key).catch(() => null)))
  const digestAt = (key: string) => key.slice(key.lastIndexOf(':') + 1)
  const entries = values.map((value, index) => readEntry(value, digestAt(keys[index]!))).filter((entry) => entry !== null)
  await Promise.all(keys.map(async (key, index) => {
    const digest = digestAt(key)
    const own = entries.find((entry) => entry.digest === digest)
    const others = entries.filter((entry) => entry.digest !== digest)
    const sames = others.filter(({ user }) => own !== undefined && user === own.user)
    const from = index % 2 === 0 && sames.length > 0 ? sames : others
    if (from.length === 0) return
    await client.set(key, random.pick(from).value, 'PX', LIFE_MS)
  }))
}

function readEntry (value: string | null, digest: string): Entry | null {
  if (value?.[0] !== 'V') return null
  try {
    const [, , user] = JSON.parse(value.slice(1 + TAG_LENGTH))
    return { digest, user, value }
  } catch {
    return null
  }
}
