import { execFile, spawn } from 'node:child_process'
import { chmodSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const portRetries = 3
const readyWithinMs = 20_000
const stopWithinMs = 5_000
const children = new Set()
let stopping = false

export const isRoot = process.getuid?.() === 0
// PostgreSQL refuses to run as root. 65534 is `nobody` and needs no account.
export const unprivileged = { cwd: '/', ...(isRoot && { uid: 65534, gid: 65534 }) }

export const run = (file, args, options) => {
  const result = promisify(execFile)(file, args, options)
  track(result.child)
  return result
}

export function onPath (name) {
  const dirs = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  return dirs.map(dir => resolve(dir, name)).filter(file => existsSync(file))
}

export function makeDir () {
  const base = [tmpdir(), '/tmp', '/var/tmp'].find(traversable) ?? tmpdir()
  const dir = mkdtempSync(join(base, 'fta-services-'))
  // mkdtemp makes it 0700, which would keep the unprivileged server out.
  chmodSync(dir, 0o755)
  return dir
}

function traversable (dir) {
  if (!existsSync(dir)) return false
  if (!isRoot) return true
  const parents = [realpathSync(dir)]
  while (dirname(parents[0]) !== parents[0]) parents.unshift(dirname(parents[0]))
  return parents.every(parent => statSync(parent).mode & 1)
}

export async function startServer (server) {
  for (let attempt = 0; ; attempt++) {
    const port = await freePort()
    try {
      await launch(server, port)
      return port
    } catch (error) {
      if (attempt === portRetries || !/address already in use/i.test(error.message)) throw error
    }
  }
}

async function launch (server, port) {
  // Between two steps of the start no child may exist that stopAll could see.
  if (stopping) throw new Error(`${server.name} was stopped`)
  const log = openSync(server.log, 'w')
  const child = spawn(server.bin, server.args(port), { ...server.options, stdio: ['ignore', log, log] })
  child.stopSignal = server.stopSignal
  track(child)
  closeSync(log)
  const failure = await waitUntilReady(server, child, port)
  if (!failure) return
  child.kill('SIGKILL')
  throw new Error(`${server.name} ${failure}. Its log ends with:\n${tail(server.log)}`)
}

async function waitUntilReady (server, child, port) {
  const end = Date.now() + readyWithinMs
  while (Date.now() < end) {
    if (!children.has(child)) return 'stopped while starting'
    if (await server.ready(child, port)) return
    await sleep(50)
  }
  return `was not ready within ${readyWithinMs / 1000} s`
}

function freePort () {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

function tail (file) {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-15).join('\n')
}

function track (child) {
  children.add(child)
  child.once('exit', () => children.delete(child))
  child.once('error', () => children.delete(child))
}

export async function stopAll () {
  stopping = true
  await Promise.all([...children].map(stop))
}

function stop (child) {
  const timer = setTimeout(() => child.kill('SIGKILL'), stopWithinMs)
  return new Promise(resolve => {
    child.once('exit', () => {
      clearTimeout(timer)
      resolve()
    })
    child.kill(child.stopSignal ?? 'SIGTERM')
  })
}
