#!/usr/bin/env node
// Usage: node scripts/test.mjs [options of `tap run`] [files...]
// Compiles the tests, and runs them with a PostgreSQL and a Redis of their own.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compile } from './tests/compile.mjs'

const env = ['TAP_TYPE_STRIP_ONLY=1', `NODE_OPTIONS=--import=${new URL('tests/preload.mjs', import.meta.url)}`]
const runner = fileURLToPath(new URL('tests/run.mjs', import.meta.url))

// Tests start processes of what was built.
if (latest(['dist']) < latest(['lib', 'types'])) build()
await compile()
process.argv.splice(2, 0, 'tap', 'run', ...env.map((variable) => `--test-env=${variable}`), `--node-arg=${runner}`)
await import('./with-services.mjs')

// tsc has printed its errors: a stack of this script would hide them.
function build () {
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

function latest (folders) {
  const names = folders.filter((folder) => existsSync(folder)).flatMap((folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name)))
  return Math.max(0, ...names.map((name) => statSync(name).mtimeMs))
}
