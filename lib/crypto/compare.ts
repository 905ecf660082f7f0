import { timingSafeEqual } from 'node:crypto'

/** Whether two byte strings are equal, in a time that does not tell where they differ. */
export function isSame (one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other)
}

/** The bytes of a base64 text as encoders write it; `null` where a decoder would have to guess. */
export function fromBase64 (text: string, { padded }: { padded: boolean }): Buffer | null {
  const bytes = Buffer.from(text, 'base64')
  const canonical = bytes.toString('base64')
  return text === (padded ? canonical : canonical.replace(/=+$/, '')) ? bytes : null
}
