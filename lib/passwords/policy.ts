import { PASSWORD_IS_USERNAME, PASSWORD_MALFORMED, PASSWORD_TOO_LONG, PASSWORD_TOO_SHORT, PASSWORD_UNCHANGED } from '../errors.js'

export interface PasswordPolicy {
  /** @throws `FST_TOKEN_AUTH_PASSWORD_*`, one code a rule */
  check (password: string, context: { username: string, current?: string }): void
}

/** Storage would change them (NUL, lone surrogates), or a decoder has already (U+FFFD). */
const MALFORMED = /[\0\uD800-\uDFFF\uFFFD]/u

/** Length in code points, no composition rules (NIST SP 800-63B 3.1.1.2; ASVS 5.0 6.2.1, 6.2.5, 6.2.9). */
export function createPasswordPolicy ({ minLength, maxLength }: { minLength: number, maxLength: number }): PasswordPolicy {
  return {
    check (password, { username, current }) {
      const length = [...password].length
      if (MALFORMED.test(password)) throw new PASSWORD_MALFORMED()
      if (length < minLength) throw new PASSWORD_TOO_SHORT(minLength)
      if (length > maxLength) throw new PASSWORD_TOO_LONG(maxLength)
      if (password.toLowerCase() === username.toLowerCase()) throw new PASSWORD_IS_USERNAME()
      if (password === current) throw new PASSWORD_UNCHANGED()
    }
  }
}
