#!/usr/bin/env node
// Usage: node scripts/test.mjs [options of `tap run`] [files...]
// Runs tests with a PostgreSQL and a Redis of their own, and with scripts/typescript in place of tap's TypeScript.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const loader = new URL('typescript/register.mjs', import.meta.url)
const env = ['TAP_TYPE_STRIP_ONLY=1', `NODE_OPTIONS=--import=${loader}`]

// Tests start processes of what was built.
if (latest(['dist']) < latest(['lib', 'types'])) execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' })
process.argv.splice(2, 0, 'tap', 'run', ...env.map((variable) => `--test-env=${variable}`))
await import('./with-services.mjs')

function latest (folders) {
  const names = folders.filter((folder) => existsSync(folder)).flatMap((folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name)))
  return Math.max(0, ...names.map((name) => statSync(name).mtimeMs))
}
