import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { lazy } from '../tools/lazy.js'

/** The passwords of zxcvbn-ts by frequency, MIT; package.json pins its version, as the file is found by its path. */
const LIST = '@zxcvbn-ts/language-common/src/passwords.json'
/** No policy allows fewer, so shorter entries are not kept; some 18,000 are left. */
const SHORTEST = 8
const SLICE = 10_000
const DIGITS_IN_ORDER = '12345678901234567890'

/**
 * Whether guessers try the whole password first, in any case of its letters (ASVS 5.0 6.2.4): it is on the list,
 * or a word of the list with 1, 12, 123 and so on behind it. The list is read at the first call, and then kept.
 */
export const isCommon = createCommonPasswords(async () => await readFile(createRequire(import.meta.url).resolve(LIST), 'utf8'))

/** `read` resolves to a JSON array of passwords. */
export function createCommonPasswords (read: () => Promise<string>): (password: string) => Promise<boolean> {
  const listed = lazy(async () => await load(read))
  return async (password) => {
    const words = await listed.get()
    const word = password.toLowerCase()
    return words.has(word) || words.has(withoutCount(word))
  }
}

// In turns of the event loop, the longest some 10 ms: imported as a module, the same list would stop it for 35 ms.
async function load (read: () => Promise<string>): Promise<Set<string>> {
  const all = JSON.parse(await read()) as string[]
  const words = new Set<string>()
  for (let at = 0; at < all.length; at += SLICE) {
    await nextTurn()
    for (const word of all.slice(at, at + SLICE)) if (word.length >= SHORTEST) words.add(word.toLowerCase())
  }
  return words
}

// Few listed passwords are long, and this is how people lengthen one.
function withoutCount (word: string): string {
  let end = word.length
  while (end > 0 && /[0-9]/.test(word[end - 1]!)) end--
  return DIGITS_IN_ORDER.startsWith(word.slice(end)) ? word.slice(0, end) : word
}
