// Owns the servers and the temporary directory. It is a process of its own, in its own session, so that it outlives a
// harness that dies by SIGKILL: the closed IPC channel then tells it to clean up.
import { rmSync } from 'node:fs'
import { startPostgres } from './postgres.mjs'
import { startRedis } from './redis.mjs'
import { makeDir, stopAll } from './util.mjs'

// The unprivileged server must be able to read what we create here.
process.umask(0o022)
const dir = makeDir()
let command
let stopping = false

process.on('message', message => { command = message.command })
process.on('disconnect', () => stop(0))
process.on('SIGTERM', () => stop(0))
process.on('SIGINT', () => stop(0))
// The harness may have died while this module was loading.
if (!process.connected) stop(0)

try {
  const services = await Promise.all([startPostgres(dir), startRedis(dir)])
  console.error(`services: ${services.map(service => service.label).join(', ')}`)
  process.send({ env: Object.assign({}, ...services.map(service => service.env)) })
} catch (error) {
  if (!stopping) console.error(`services: ${error.message}`)
  stop(1)
}

async function stop (code) {
  if (stopping) return
  stopping = true
  if (command) killCommand()
  await stopAll()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
  process.exit(code)
}

function killCommand () {
  try {
    process.kill(command, 'SIGTERM')
  } catch {
    // It has ended already.
  }
}
