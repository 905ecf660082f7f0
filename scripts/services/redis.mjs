import { mkdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { isRoot, onPath, run, startServer } from './util.mjs'

const installHint = `No usable Redis was found. Set REDIS_URL to a running server, or REDIS_SERVER_BIN to a redis-server or
valkey-server, or install one:
  Debian, Ubuntu: apt-get update && apt-get install -y --no-install-recommends redis-server
  macOS:          brew install redis
  Fedora:         dnf install -y valkey`

export async function startRedis (dir) {
  let { found, tried } = await findRedis()
  const binEnv = found ? { REDIS_SERVER_BIN: found.bin } : {}
  if (process.env.REDIS_URL) return { label: 'Redis of REDIS_URL', env: binEnv }
  if (!found && canInstall()) ({ found, tried } = await installRedis())
  if (!found) throw new Error([installHint, ...tried].join('\n'))
  const port = await startIn(dir, found)
  return {
    label: `${found.name} ${found.version} on 127.0.0.1:${port}`,
    env: { REDIS_SERVER_BIN: found.bin, REDIS_URL: `redis://127.0.0.1:${port}` }
  }
}

async function findRedis () {
  const tried = []
  const named = [process.env.REDIS_SERVER_BIN].filter(Boolean)
  for (const bin of [...named, ...onPath('redis-server'), ...onPath('valkey-server')]) {
    try {
      return { found: { bin, ...await probe(bin) }, tried }
    } catch (error) {
      tried.push(`Tried ${bin}: ${error.message.trim()}`)
    }
  }
  return { tried }
}

async function probe (bin) {
  const { stdout } = await run(bin, ['--version'])
  const version = /\bv=(\S+)/.exec(stdout)?.[1]
  if (!version) throw new Error('its --version is not that of a Redis or Valkey server')
  return { version, name: /valkey/i.test(stdout + bin) ? 'Valkey' : 'Redis' }
}

function canInstall () {
  if (!isRoot) return false
  try {
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
  }
}

async function installRedis () {
  console.error('services: no Redis found, running apt-get update && apt-get install -y --no-install-recommends redis-server')
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, maxBuffer: 64 * 1024 * 1024 }
  try {
    await run('apt-get', ['update'], options)
    await run('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'], options)
  } catch (error) {
    return { tried: [`apt-get failed: ${error.message.trim()}`] }
  }
  return findRedis()
}

async function startIn (dir, { bin, version }) {
  const data = join(dir, 'redis')
  mkdirSync(data)
  const debug = parseInt(version) >= 7 ? ['--enable-debug-command', 'local'] : []
  return startServer({
    name: 'Redis',
    bin,
    args: port => ['--port', String(port), '--bind', '127.0.0.1', '--dir', data, '--save', '', '--appendonly', 'no', ...debug],
    options: { cwd: data },
    log: join(dir, 'redis.log'),
    stopSignal: 'SIGTERM',
    ready: isReady
  })
}

// The process id tells our server from another one that took the same port first.
function isReady (child, port) {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => socket.write('INFO server\r\n'))
    let reply = ''
    socket.setTimeout(1000, () => socket.destroy())
    socket.on('error', () => {}).on('close', () => resolve(false))
    socket.on('data', data => {
      reply += data
      if (!/^executable:/m.test(reply)) return
      resolve(new RegExp(`^process_id:${child.pid}\\r$`, 'm').test(reply))
      socket.destroy()
    })
  })
}
