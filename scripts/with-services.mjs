#!/usr/bin/env node
// Usage: node scripts/with-services.mjs <command> [args...]
// Runs the command with DATABASE_URL and REDIS_URL of a real PostgreSQL and a real Redis, started for it alone.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { delimiter } from 'node:path'
import { fileURLToPath } from 'node:url'

const [command, ...args] = process.argv.slice(2)
if (!command) fail('usage: node scripts/with-services.mjs <command> [args...]', 2)

const supervisor = spawn(process.execPath, [pathTo('services/supervisor.mjs')], {
  detached: true,
  stdio: ['ignore', 'inherit', 'inherit', 'ipc']
})
const supervisorExit = once(supervisor, 'exit')
const commandEnv = { ...process.env, PATH: [pathTo('../node_modules/.bin'), process.env.PATH].join(delimiter) }

let child
let interrupted
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => forward(signal))
// npm signals only its shell, which dies without a word to us.
if (process.env.npm_lifecycle_event) watchParent()

const env = await Promise.race([once(supervisor, 'message').then(([message]) => message.env), supervisorExit.then(() => null)])
const code = interrupted ?? (env ? await runCommand(env) : 1)
if (supervisor.connected) supervisor.disconnect()
await supervisorExit
process.exit(code)

function runCommand (env) {
  child = spawn(command, args, { stdio: 'inherit', env: { ...commandEnv, ...env } })
  tellSupervisor(child.pid)
  return new Promise(resolve => {
    child.once('error', error => {
      console.error(`services: cannot run ${command}: ${error.message}`)
      resolve(error.code === 'ENOENT' ? 127 : 126)
    })
    child.once('exit', (code, signal) => {
      tellSupervisor(null)
      resolve(code ?? signalCode(signal))
    })
  })
}

// The supervisor ends the command if this process dies first.
function tellSupervisor (command) {
  if (supervisor.connected) supervisor.send({ command }, () => {})
}

function forward (signal) {
  if (child) return child.kill(signal)
  interrupted = signalCode(signal)
  if (supervisor.connected) supervisor.disconnect()
}

function watchParent () {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    forward('SIGTERM')
  }, 500).unref()
}

function signalCode (signal) {
  return 128 + constants.signals[signal]
}

function pathTo (file) {
  return fileURLToPath(new URL(file, import.meta.url))
}

function fail (message, code) {
  console.error(message)
  process.exit(code)
}
