#!/usr/bin/env node
// Builds after `npm ci` and before `npm pack`. An installation without the development dependencies has no compiler, and keeps what was built.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

if (existsSync(new URL('../node_modules/typescript', import.meta.url))) {
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit', shell: process.platform === 'win32' })
  process.exit(status ?? 1)
}
console.log('TypeScript is not installed: dist/ is not built')
