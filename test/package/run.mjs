import { spawnSync } from 'node:child_process'

/** Runs a command to its end. Returns what it printed; throws with all of that if it fails. */
export function run (command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', timeout: 300_000, ...options })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${error?.message ?? status}\n${stdout}${stderr}`)
  return stdout
}
