import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { freePort } from './ports.js'
import { until } from './until.js'

export interface PostgresServer {
  port: number
  url: string
  start (): Promise<void>
  /** Terminates every connection, then the server. */
  stop (): Promise<void>
  /** Sends SIGKILL to all of its processes: only committed data is still there at the next start. */
  crash (): Promise<void>
  /** Sends SIGSTOP to all of its processes. */
  freeze (): Promise<void>
  thaw (): Promise<void>
}

const run = promisify(execFile)
// PostgreSQL refuses to run as root. 65534 is `nobody` and needs no account.
const isRoot = process.getuid?.() === 0
const options = {
  cwd: '/',
  ...(isRoot && { uid: 65534, gid: 65534 }),
  env: { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG'))), LC_ALL: 'C' }
}

/** The reason why a test cannot start its own PostgreSQL; `false` if it can. */
export const noPostgres: string | false = process.env['PG_BIN_DIR'] === undefined && 'no binaries of PostgreSQL: set PG_BIN_DIR'

/** A PostgreSQL that the test can stop, freeze and crash. `standbyOf` creates a standby of another server. It is not started yet. */
export async function createPostgresServer (t: Test, { standbyOf }: { standbyOf?: PostgresServer } = {}): Promise<PostgresServer> {
  const bin = process.env['PG_BIN_DIR'] as string
  const port = await freePort()
  const home = await mkdtemp(join(tmpdir(), 'fta-postgres-'))
  const data = join(home, 'cluster', 'data')
  let postmaster: ChildProcess | null = null

  await chmod(home, 0o755)
  await mkdir(join(home, 'cluster'))
  if (isRoot) await chown(join(home, 'cluster'), 65534, 65534)
  if (standbyOf === undefined) await run(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '--encoding=UTF8', '--locale=C'], options)
  else await run(join(bin, 'pg_basebackup'), ['-D', data, '-d', standbyOf.url, '-R', '-X', 'stream', '-c', 'fast', '--no-sync'], options)

  async function end (signal: NodeJS.Signals, toAll: boolean): Promise<void> {
    if (postmaster === null || postmaster.exitCode !== null) return
    const exited = once(postmaster, 'exit')
    // A stopped process reacts only to SIGKILL.
    if (toAll) await signalAll(postmaster, signal)
    else postmaster.kill(signal)
    await exited
    postmaster = null
  }
  t.teardown(async () => { await end('SIGKILL', true); await rm(home, { recursive: true, force: true, maxRetries: 5 }) })

  return {
    port,
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    async start () {
      // No fsync, because only processes are killed here, never the machine.
      const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=100', 'fsync=off']
      const child = spawn(join(bin, 'postgres'), ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])], { ...options, stdio: 'ignore' })
      postmaster = child
      await until(() => isReady(join(data, 'postmaster.pid'), child), 'PostgreSQL is ready').catch(async (error) => { await end('SIGKILL', true); throw error })
    },
    stop: () => end('SIGINT', false),
    crash: () => end('SIGKILL', true),
    async freeze () { if (postmaster !== null) await signalAll(postmaster, 'SIGSTOP') },
    async thaw () { if (postmaster !== null) await signalAll(postmaster, 'SIGCONT') }
  }
}

async function isReady (file: string, { pid, exitCode }: ChildProcess): Promise<boolean> {
  if (exitCode !== null) throw new Error(`PostgreSQL ended with ${exitCode} while it started`)
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n')
  return Number(lines[0]) === pid && /^(ready|standby)$/.test(lines[7]?.trim() ?? '')
}

// Stops the postmaster first, so that it starts no more children.
async function signalAll ({ pid }: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  send(pid!, 'SIGSTOP')
  for (const child of await childrenOf(pid!)) send(child, signal)
  send(pid!, signal)
}

function send (pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // The process has ended meanwhile.
  }
}

async function childrenOf (pid: number): Promise<number[]> {
  const listed = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => null)
  if (listed !== null) return listed.trim().split(' ').filter(Boolean).map(Number)
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid='])
  return stdout.trim().split('\n').map((line) => line.trim().split(/\s+/).map(Number)).filter(([, parent]) => parent === pid).map(([child]) => child!)
}
