import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { COMMAND_FAILED } from '../errors.js'

/** Locks of this process. Another lock file with its id is from an earlier process: containers reuse a few ids. */
const held = new Set<string>()

/**
 * Locks a directory for this process, because the embedded database does not: two processes would destroy the data.
 * Returns the function that releases the lock.
 * @throws `FST_TOKEN_AUTH_COMMAND_FAILED` if another process holds the lock
 */
export function lockDirectory (path: string): () => void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const lock = join(resolve(path), 'lock')
  if (existsSync(lock)) removeStale(lock, path)
  create(lock)
  held.add(lock)
  return () => {
    held.delete(lock)
    rmSync(lock, { force: true })
  }
}

// Linking is atomic: the lock appears with the process id in it, and it fails if there is a lock already.
function create (lock: string): void {
  const own = `${lock}.${process.pid}`
  writeFileSync(own, `${process.pid}\n`)
  try {
    linkSync(own, lock)
  } finally {
    rmSync(own, { force: true })
  }
}

function removeStale (lock: string, path: string): void {
  const holder = Number(readFileSync(lock, 'utf8'))
  const isHeld = holder === process.pid ? held.has(lock) : isAlive(holder)
  if (!isHeld) return rmSync(lock, { force: true })
  throw new COMMAND_FAILED(`The data directory ${path} is in use by process ${holder}. Stop that process, choose another directory with --data, ` +
    `or set DATABASE_URL to use a database that several processes can share. If process ${holder} is another program, delete ${lock}`)
}

function isAlive (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // The process exists but belongs to another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
