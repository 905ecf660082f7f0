import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { lazy } from '../tools/lazy.js'

/** The passwords of zxcvbn-ts by frequency, MIT; package.json pins the version, because the file is found by its path. */
const LIST = '@zxcvbn-ts/language-common/src/passwords.json'
/** No policy allows fewer characters, so shorter entries are dropped. Some 18,000 remain. */
const SHORTEST = 8
const SLICE = 10_000
const DIGITS_IN_ORDER = '12345678901234567890'

/**
 * Whether the password is one of those that attackers try first (ASVS 5.0 6.2.4): it is on the list, in upper or lower case,
 * or it is a word of the list followed by 1, 12, 123 and so on. The list is read at the first call, and then kept.
 */
export const isCommon = createCommonPasswords(async () => await readFile(createRequire(import.meta.url).resolve(LIST), 'utf8'))

/** `read` resolves to a JSON array of passwords. */
export function createCommonPasswords (read: () => Promise<string>): (password: string) => Promise<boolean> {
  const list = lazy(async () => await load(read))
  return async (password) => {
    const words = await list.get()
    const word = password.toLowerCase()
    return words.has(word) || words.has(withoutDigits(word))
  }
}

// In slices, each of which blocks the event loop for at most some 10 ms. Imported as a module, the list would block it for 35 ms.
async function load (read: () => Promise<string>): Promise<Set<string>> {
  const all = JSON.parse(await read()) as string[]
  const words = new Set<string>()
  for (let at = 0; at < all.length; at += SLICE) {
    await nextTurn()
    for (const word of all.slice(at, at + SLICE)) if (word.length >= SHORTEST) words.add(word.toLowerCase())
  }
  return words
}

// People lengthen a short password like this.
function withoutDigits (word: string): string {
  let end = word.length
  while (end > 0 && /[0-9]/.test(word[end - 1]!)) end--
  return DIGITS_IN_ORDER.startsWith(word.slice(end)) ? word.slice(0, end) : word
}
