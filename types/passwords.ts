/** Password hashing. `verify` never throws for a damaged hash: it resolves to false. */
export interface Hasher {
  hash (password: string): Promise<string>
  verify (password: string, hash: string): Promise<boolean>
  /** Whether the hash is of another kind or weaker than `hash` would make now. */
  needsRehash (hash: string): boolean
  /**
   * Whether `verify` would compute this hash: its encoding is known and what it asks for is within bounds. What nobody
   * understands is refused at the cost of a hash. Without it, every hash that no verifier understands is given to `verify`.
   */
  understands? (hash: string): boolean
  close? (): Promise<void>
}

/** Verifies hashes that other software has stored, and makes none: they are replaced at the next right login. */
export interface PasswordVerifier {
  /** Whether it would compute this hash: its encoding is known and what it asks for is within bounds. */
  understands (hash: string): boolean
  verify (password: string, hash: string): Promise<boolean>
  close? (): Promise<void>
}

/** Knows passwords that are in the hands of guessers. A rejection means that it cannot tell now. */
export interface BreachedPasswords {
  isBreached (password: string, signal: AbortSignal): Promise<boolean>
}

/** A rule of the host for new passwords: what is wrong with one, told to the client, or nothing. */
export type PasswordRule = (password: string, user: { username: string }) => string | null | undefined | Promise<string | null | undefined>
