/** Shorter ones are in many passwords by chance. */
const SHORTEST_INSIDE = 4

/** One form for all writings of a text that look or read the same. */
export function fold (text: string): string {
  return text.normalize('NFKC').toLowerCase()
}

/**
 * Whether a password is the username, is within it, or has it inside (NIST SP 800-63B 3.1.1.2; ASVS 5.0 6.2.11).
 * Of an e-mail address the part before the @ and the labels behind it count as well. Case and compatibility forms are alike.
 */
export function hasUsername (password: string, username: string): boolean {
  const typed = fold(password)
  const name = fold(username)
  if (name.includes(typed)) return true
  return [name, ...partsOf(name)].some((part) => [...part].length >= SHORTEST_INSIDE && typed.includes(part))
}

function partsOf (name: string): string[] {
  const at = name.lastIndexOf('@')
  return at === -1 ? [] : [name.slice(0, at), ...name.slice(at + 1).split('.')]
}
