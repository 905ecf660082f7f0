/** Password hashing. `verify` never throws for a damaged hash: it resolves to false. */
export interface Hasher {
  hash (password: string): Promise<string>
  verify (password: string, hash: string): Promise<boolean>
  /** Whether the hash is of another kind or weaker than `hash` would make now. */
  needsRehash (hash: string): boolean
  /**
   * Whether `verify` would compute this hash: its encoding is known and its cost is within bounds. A hash that nothing
   * understands is refused at the cost of a hash. Without this function, `verify` gets every hash that no verifier understands.
   */
  understands? (hash: string): boolean
  close? (): Promise<void>
}

/** Verifies hashes that other software has stored, and creates none: they are replaced at the next successful login. */
export interface PasswordVerifier {
  /** Whether `verify` would compute this hash: its encoding is known and its cost is within bounds. */
  understands (hash: string): boolean
  verify (password: string, hash: string): Promise<boolean>
  close? (): Promise<void>
}

/** A check for passwords from known breaches. A rejection means that the check failed. */
export interface BreachedPasswords {
  isBreached (password: string, signal: AbortSignal): Promise<boolean>
}

/** A rule of your own for new passwords: returns a message for the client if a password is refused, otherwise nothing. */
export type PasswordRule = (password: string, user: { username: string }) => string | null | undefined | Promise<string | null | undefined>
