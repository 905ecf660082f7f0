import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { Test } from 'tap'
import { digestOf } from '../../../lib/crypto/token.js'
import { createMark } from './marks.js'
import type { Mark } from './marks.js'
import { FROM_SOURCES } from '../../helpers/processes.js'
import { createRedisServer } from '../../helpers/redis-server.js'
import { createDatabase, query, uniqueNamespace } from '../../helpers/services.js'
import { startStub } from '../../helpers/stub.js'

/** All marks, and all texts of each place, in the whole run. */
export interface Ledger {
  marks: Mark[]
  texts: Map<string, string[]>
  mark: (kind: string, around?: (core: string) => string) => string
  see: (place: string, text: string) => void
}

export function createLedger (): Ledger {
  const marks: Mark[] = []
  const texts = new Map<string, string[]>()
  return {
    marks,
    texts,
    mark (kind, around) {
      const made = createMark(kind, around)
      marks.push(made)
      return String(made.value)
    },
    see (place, text) {
      texts.set(place, [...texts.get(place) ?? [], text])
    }
  }
}

function markToken ({ marks }: Ledger, token: string): void {
  const digest = Buffer.from(digestOf(token), 'base64url')
  marks.push({ kind: 'token', value: token, core: token.slice(token.indexOf('_') + 1).slice(0, 30) }, { kind: 'token digest', value: digest, core: null })
}

/** Starts the servers' process and records its output and errors. */
export function startHost (t: Test, ledger: Ledger) {
  const child = fork(fileURLToPath(new URL('process.js', import.meta.url)), { execArgv: FROM_SOURCES, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
  const exited = once(child, 'exit')
  t.teardown(() => { child.kill('SIGKILL') })
  child.stdout!.setEncoding('utf8').on('data', (text) => ledger.see('stdout', text))
  child.stderr!.setEncoding('utf8').on('data', (text) => ledger.see('stderr', text))
  const waiting = new Map<number, (answer: any) => void>()
  child.on('message', (answer: { id: number }) => waiting.get(answer.id)?.(answer))
  let calls = 0

  async function ask (name: string, ...args: unknown[]): Promise<{ result?: any, error?: string, code?: string }> {
    const id = calls++
    const answer = new Promise((resolve) => waiting.set(id, resolve))
    child.send({ id, name, args })
    const told = await Promise.race([answer, exited.then(() => { throw new Error('the host ended') })]) as { result?: any, error?: string }
    if (told.error !== undefined) ledger.see('errors', told.error)
    return told
  }

  return {
    /** Rejects if the host rejects. */
    async call (name: string, ...args: unknown[]): Promise<any> {
      const { result, error } = await ask(name, ...args)
      if (error !== undefined) throw new Error(`${name}: ${error}`)
      if (typeof result?.token === 'string') markToken(ledger, result.token)
      return result
    },
    /** Resolves to the code of the expected error. */
    async fail (name: string, ...args: unknown[]): Promise<string> {
      const { error, code } = await ask(name, ...args)
      if (error === undefined) throw new Error(`${name} did not fail`)
      return code!
    },
    /** Resolves to the code of the error, or to `none`. */
    async attempt (name: string, ...args: unknown[]): Promise<string> {
      return (await ask(name, ...args)).code ?? 'none'
    },
    async end (): Promise<void> {
      child.disconnect()
      await exited
    }
  }
}

export type Host = ReturnType<typeof startHost>

export interface Request { method?: string, token?: string, body?: unknown, raw?: string, headers?: Record<string, string> }

/** Sends a request, and records the reply without the token that it may contain. */
export async function send (ledger: Ledger, url: string, { method = 'POST', token, body, raw, headers = {} }: Request = {}): Promise<{ status: number, body: any }> {
  const content = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const response = await fetch(url, {
    method,
    headers: { ...content === undefined ? {} : { 'content-type': 'application/json' }, ...token === undefined ? {} : { authorization: `Bearer ${token}` }, ...headers },
    ...content === undefined ? {} : { body: content }
  })
  let text = await response.text()
  const parsed = text.startsWith('{') ? JSON.parse(text) : null
  if (response.status === 200 && typeof parsed?.token === 'string') {
    markToken(ledger, parsed.token)
    text = JSON.stringify({ ...parsed, token: 'taken out' })
  }
  ledger.see('replies', `${response.status} ${JSON.stringify([...response.headers])} ${text}`)
  return { status: response.status, body: parsed }
}

/** An external service that echoes every request. */
export async function startEcho (t: Test, see: (heard: string) => void, answer: (response: ServerResponse, heard: string) => void): Promise<string> {
  const { origin } = await startStub(t, (response, { url, headers, body }) => {
    const heard = `${url} ${JSON.stringify(headers)} ${body}`
    see(heard)
    response.setHeader('x-echo', encodeURIComponent(heard))
    answer(response, body)
  })
  return `${origin}/`
}

/** A Redis with a password, whose commands are all recorded. */
export async function startRedis (t: Test, ledger: Ledger, password: string) {
  const server = await createRedisServer(t)
  const namespace = uniqueNamespace()
  ledger.marks.push({ kind: 'namespace of Redis keys', value: namespace, core: null })
  let admin: Redis
  let monitor: Redis

  async function start (): Promise<void> {
    await server.start()
    admin = new Redis(server.url)
    await admin.config('SET', 'slowlog-log-slower-than', '0', 'slowlog-max-len', '100000')
    await admin.config('SET', 'requirepass', password)
    monitor = new Redis(server.url, { password, enableReadyCheck: false })
    for (const client of [admin, monitor]) client.on('error', () => {})
    await once(monitor, 'ready')
    monitor.stream.removeAllListeners('data').on('data', (chunk) => ledger.see('redis monitor', chunk.toString('latin1')))
    monitor.stream.write('MONITOR\r\n')
    await once(monitor.stream as EventEmitter, 'data')
  }

  async function look (): Promise<void> {
    for (const entry of await admin.call('SLOWLOG', 'GET', '-1') as unknown[]) ledger.see('redis slowlog', JSON.stringify(entry))
    for (const key of await admin.keys('*')) {
      ledger.see('redis keys', key)
      ledger.see('redis values', JSON.stringify(await valueOf(admin, key)))
    }
  }

  await start()
  t.teardown(() => { admin.disconnect(); monitor.disconnect() })
  const address = new URL(server.url)
  address.password = password
  return {
    ...server,
    url: address.href,
    namespace,
    start,
    look,
    get admin () { return admin },
    async kill () {
      await look()
      admin.disconnect()
      monitor.disconnect()
      await server.kill()
    }
  }
}

async function valueOf (redis: Redis, key: string): Promise<unknown> {
  switch (await redis.type(key)) {
    case 'string': return await redis.get(key)
    case 'hash': return await redis.hgetall(key)
    case 'list': return await redis.lrange(key, 0, -1)
    case 'set': return await redis.smembers(key)
    case 'zset': return await redis.zrange(key, '0', '-1')
    default: return await redis.xrange(key, '-', '+')
  }
}

/** A database whose owner logs in with a password. */
export async function startDatabase (t: Test, password: string) {
  const database = await createDatabase()
  const server = process.env['DATABASE_URL']!
  const name = new URL(database.url).pathname.slice(1)
  const role = `canary_${randomBytes(6).toString('hex')}`
  await query(`create role ${role} login password '${password}'`, server)
  await query(`alter database ${name} owner to ${role}`, server)
  t.teardown(async () => {
    await database.drop()
    await query(`drop role ${role}`, server)
  })
  const url = Object.assign(new URL(database.url), { username: role, password }).href
  const run = async (text: string) => await query(text, database.url)
  const terminate = async (more = '') => await query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${role}'${more}`, server)

  return {
    url,
    run,
    terminate,
    /** Locks the table while `work` runs, so that all readers wait. */
    async locked (table: string, work: () => Promise<unknown>) {
      const holder = new pg.Client({ connectionString: database.url })
      await holder.connect()
      await holder.query(`begin; lock table ${table} in access exclusive mode`)
      await work().finally(() => holder.end())
    },
    /** Whether a statement of the servers that begins with this text waits for a lock. */
    async waits (statement: string): Promise<boolean> {
      return (await query(`select 1 from pg_stat_activity where usename = '${role}' and wait_event_type = 'Lock' and query like '${statement}%'`, server)).length > 0
    },
    async readOnly (isOn: boolean) {
      await query(`alter role ${role} ${isOn ? 'set default_transaction_read_only = on' : 'reset default_transaction_read_only'}`, server)
      await terminate()
    },
    async reachable (isOn: boolean) {
      await query(`alter database ${name} with allow_connections ${isOn}`, server)
      if (!isOn) await terminate()
    },
    /** Records every column of every table, as in a dump. */
    async look (see: Ledger['see']) {
      const columns = await run('select table_name as t, column_name as c from information_schema.columns where table_schema = \'public\'')
      for (const { t: table, c: column } of columns) {
        const rows = await run(`select "${column}"::text as v from "${table}"`)
        see(`sql ${table}.${column}`, rows.map(({ v }) => v).join('\n'))
      }
    }
  }
}

export type Database = Awaited<ReturnType<typeof startDatabase>>
export type RedisWorld = Awaited<ReturnType<typeof startRedis>>
