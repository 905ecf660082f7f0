#!/usr/bin/env node
// Usage: node scripts/with-services.mjs node test/package/runtimes.mjs
// Runs the smoke test and the command with each supported line of Node.js and of kysely. The binaries of Node.js come from npm.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { run } from './run.mjs'

const NODES = process.env.SMOKE_NODES?.split(',') ?? ['20', '22', '24', '26']
const KYSELYS = ['kysely', 'kysely-0.29']
const here = (file) => fileURLToPath(new URL(file, import.meta.url))
const CLI = here('../../dist/lib/cli/main.js')
const versionOf = (name) => createRequire(import.meta.url)(`${here('../../node_modules')}/${name}/package.json`).version

/** The binary of a major version: this process's own, or that of npm's package `node`. */
function findNode (major) {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  return run('npm', ['exec', '--yes', `--package=node@${major}`, '--', 'node', '-p', 'process.execPath']).trim()
}

async function withDatabase (work) {
  const name = `smoke_${process.pid}_${Math.random().toString(36).slice(2)}`
  const admin = new pg.Client({ connectionString: process.env.DATABASE_URL })
  await admin.connect()
  await admin.query(`create database ${name}`)
  const url = new URL(process.env.DATABASE_URL)
  url.pathname = `/${name}`
  try {
    return work({ ...process.env, DATABASE_URL: url.href, NAMESPACE: `${name}:` })
  } finally {
    await admin.query(`drop database ${name} with (force)`)
    await admin.end()
  }
}

const failed = []
for (const major of NODES) {
  const node = findNode(major)
  for (const kysely of KYSELYS) {
    const label = `Node.js ${run(node, ['-p', 'process.versions.node']).trim()}, kysely ${versionOf(kysely)}`
    try {
      await withDatabase((database) => {
        const env = { ...database, KYSELY: kysely }
        const loader = `--import=${here('with-kysely.mjs')}`
        run(node, [loader, CLI, 'migrate', '--up'], { env })
        run(node, [loader, CLI, 'create-user', 'ann'], { env, input: 'correct horse battery\n' })
        run(node, [loader, here('smoke.mjs')], { env })
        run(node, [loader, CLI, 'revoke-user', 'ann'], { env })
      })
      console.log(`ok      ${label}`)
    } catch (error) {
      failed.push(label)
      console.log(`failed  ${label}\n${error.message}`)
    }
  }
}
process.exit(failed.length === 0 ? 0 : 1)
