import { createRequire } from 'node:module'

/** The little that is used of `@node-rs/argon2`. It computes in the threads of libuv. */
export interface Argon2Library {
  hash (password: string, options: { memoryCost: number, timeCost: number, parallelism: number }): Promise<string>
  verify (stored: string, password: string): Promise<boolean>
}

export const INSTALL_ARGON2 = 'npm install @node-rs/argon2'

/** Loads the optional peer dependency `@node-rs/argon2`. @throws what `require` does, if it is not installed. */
export function loadArgon2 (require: (name: string) => unknown = createRequire(import.meta.url)): Argon2Library {
  return require('@node-rs/argon2') as Argon2Library
}

/** Loads it at the first call, and remembers if it is not there: `null`. */
export function createArgon2Finder (load: () => Argon2Library = loadArgon2): () => Argon2Library | null {
  let found: Argon2Library | null | undefined
  return () => {
    if (found === undefined) found = attempt(load)
    return found
  }
}

function attempt (load: () => Argon2Library): Argon2Library | null {
  try {
    return load()
  } catch {
    return null
  }
}
