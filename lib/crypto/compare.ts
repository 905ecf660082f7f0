import { timingSafeEqual } from 'node:crypto'

/** Whether two byte strings are equal, in constant time. */
export function isSame (one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other)
}

/** The bytes of a base64 string in canonical form; `null` if a decoder would have to guess. */
export function fromBase64 (text: string, { padded }: { padded: boolean }): Buffer | null {
  const bytes = Buffer.from(text, 'base64')
  const canonical = bytes.toString('base64')
  return text === (padded ? canonical : canonical.replace(/=+$/, '')) ? bytes : null
}
