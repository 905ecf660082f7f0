import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import { freePort } from './ports.js'
import { until } from './until.js'

const BINARY = 'pgbouncer'
// PgBouncer refuses to run as root. 65534 is `nobody` and needs no account.
const unprivileged = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}

/** The reason why PgBouncer cannot be started; `false` if it can. */
export const noPgBouncer: string | false = spawnSync(BINARY, ['--version']).error !== undefined && 'pgbouncer is not installed'

/** Starts a PgBouncer in transaction mode, with two connections to the server. Resolves to the URL of the database through it. */
export async function startPgBouncer (t: Test, url: string): Promise<string> {
  const { hostname, port, username } = new URL(url)
  const listenPort = await freePort()
  const home = await mkdtemp(join(tmpdir(), 'fta-pgbouncer-'))
  const users = join(home, 'users.txt')
  const config = join(home, 'pgbouncer.ini')
  await chmod(home, 0o755)
  await writeFile(users, `"${username}" ""\n`)
  await writeFile(config, [
    '[databases]', `* = host=${hostname} port=${port}`,
    '[pgbouncer]', 'listen_addr = 127.0.0.1', `listen_port = ${listenPort}`, 'unix_socket_dir =', 'auth_type = trust', `auth_file = ${users}`,
    'pool_mode = transaction', 'default_pool_size = 2', 'max_client_conn = 200', ''
  ].join('\n'))
  const child = spawn(BINARY, ['-q', config], { stdio: 'ignore', ...unprivileged })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
    await rm(home, { recursive: true, force: true })
  })
  const through = new URL(url)
  through.port = String(listenPort)
  await until(() => canConnect(through.href), 'PgBouncer answers')
  return through.href
}

async function canConnect (connectionString: string): Promise<boolean> {
  const client = new pg.Client({ connectionString })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}
