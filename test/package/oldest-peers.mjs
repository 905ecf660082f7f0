#!/usr/bin/env node
// Usage: node scripts/with-services.mjs node test/package/oldest-peers.mjs
// Installs the package beside the oldest version of each peer that package.json allows, and runs peers.mjs there.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './run.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const peers = Object.entries(peerDependencies).map(([name, range]) => `${name}@${/[\d.]+/.exec(range)[0]}`)

const directory = mkdtempSync(join(tmpdir(), 'fta-peers-'))
try {
  const [{ filename }] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', directory], { cwd: root }).replace(/^[^[]*(?=\[)/, ''))
  writeFileSync(join(directory, 'package.json'), '{ "private": true, "type": "module" }')
  run('npm', ['install', '--no-audit', '--no-fund', join(directory, filename), ...peers], { cwd: directory })
  copyFileSync(new URL('peers.mjs', import.meta.url), join(directory, 'peers.mjs'))
  process.stdout.write(`${peers.join('\n')}\n${run(process.execPath, ['peers.mjs'], { cwd: directory })}`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
