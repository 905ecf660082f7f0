import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { COMMAND_FAILED } from '../errors.js'

/** Locks of this process. Its id in another one was left by an earlier process: containers use the same few ids. */
const held = new Set<string>()

/**
 * Takes a directory for this process, since the embedded database does not: two processes in it would destroy the data.
 * Returns the function that gives the directory back.
 * @throws `FST_TOKEN_AUTH_COMMAND_FAILED` if another process has it
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

// A link is made in one step, with the process id in it already; it fails where there is a lock by now.
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
  throw new COMMAND_FAILED(`The data directory ${path} is in use by process ${holder}. Stop that first, choose another with --data, ` +
    `or set DATABASE_URL to let several work at once. If process ${holder} is something else, delete ${lock}`)
}

function isAlive (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // Somebody else's process may not be asked, and is alive.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
