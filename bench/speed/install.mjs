// Installs what only the comparison needs, on the first run and when bench/package-lock.json has changed.
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'

const folder = new URL('../', import.meta.url)
const timeOf = (name) => statSync(new URL(name, folder), { throwIfNoEntry: false })?.mtimeMs ?? 0

if (timeOf('node_modules/.package-lock.json') < timeOf('package-lock.json')) {
  console.error('bench: installing better-auth, @fastify/session and connect-redis into bench/node_modules')
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts'], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'], shell: process.platform === 'win32' })
  process.exit(status ?? 1)
}
