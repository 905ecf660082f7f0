/**
 * Whole numbers from 0 up to below the limit that is asked for, the same for the same seed on every machine: Mulberry32.
 * Good enough to choose steps, and for nothing secret.
 */
export function createRandom (seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    const share = ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
    return Math.floor(share * limit)
  }
}
