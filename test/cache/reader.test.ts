import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import type { Cluster, RedisOptions } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { openRedis } from '../../lib/redis/client.js'
import { createReader } from '../../lib/redis/reader.js'
import type { Read } from '../../lib/redis/reader.js'
import { redisUrl, uniqueNamespace } from '../helpers/services.js'
import { SILENT } from '../helpers/silent.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import { until } from '../helpers/until.js'

const turn = () => new Promise((resolve) => setImmediate(resolve))

const reading = (read: Read) => (key: string) => new Promise<string | null>((resolve, reject) => read(key, (error, value) => error === null ? resolve(value) : reject(error)))

/** A reader as the plugin opens it, behind a proxy, and what its client writes. */
async function open (t: Test, more: RedisOptions = {}) {
  const { port } = new URL(redisUrl())
  const way = await createTcpProxy(t, { port: Number(port) })
  const client = openRedis({ port: way.port, commandTimeout: 60_000, ...more }, SILENT) as Redis
  t.teardown(() => client.disconnect())
  await client.connect()
  const written: string[] = []
  const write = client.stream.write.bind(client.stream)
  client.stream.write = ((chunk: string, ...rest: []) => { written.push(chunk); return write(chunk, ...rest) }) as typeof write
  return { way, client, written, get: reading(createReader(client)), key: uniqueNamespace() }
}

for (const protocol of [2, 3] as const) {
  t.test(`the GETs of a turn are one write, and each gets its own answer, in RESP${protocol}`, async (t) => {
    const { client, written, get, key } = await open(t, { protocol })
    const values = ['', 'a', 'é\u4e2d\u{1f600}', '\r\n$-1\r\n', 'x'.repeat(200_000)]
    await Promise.all(values.map((value, i) => client.set(`${key}${i}`, value, 'PX', 60_000)))
    await client.lpush(`${key}list`, 'x')
    await client.pexpire(`${key}list`, 60_000)
    written.length = 0
    const gets = [...values.keys(), 'none', 'list'].map((name) => get(`${key}${name}`))
    t.same(written, [])
    const outcomes = await Promise.allSettled(gets)
    t.same(outcomes.slice(0, -1).map((outcome) => (outcome as PromiseFulfilledResult<string>).value), [...values, null])
    t.match(outcomes.at(-1), { reason: { name: 'ReplyError', message: /^WRONGTYPE/, command: { name: 'get' } } })
    t.equal(written.length, 1)
  })
}

t.test('requests of different callbacks in one turn share a write', async (t) => {
  const { written, get, key } = await open(t)
  written.length = 0
  const gets: Promise<unknown>[] = []
  for (let i = 0; i < 3; i++) setImmediate(() => { gets.push(get(`${key}${i}`)) })
  await turn()
  t.same(written, [])
  t.same(await Promise.all(gets), [null, null, null])
  t.equal(written.length, 1)
})

t.test('GETs keep their order with the other commands of the client', async (t) => {
  const { client, get, key } = await open(t, { enableAutoPipelining: false })
  for (let round = 0; round < 20; round++) {
    const before = get(key)
    const set = client.set(key, `${round}`, 'PX', 60_000)
    await turn()
    const swap = client.set(key, 'next', 'PX', 60_000, 'GET')
    const after = get(key)
    t.same(await Promise.all([set, before, swap, after]), ['OK', `${round}`, `${round}`, 'next'])
  }
})

t.test('the prefix of the client is part of the key', async (t) => {
  const keyPrefix = `${uniqueNamespace()}é`
  const { client, get } = await open(t, { keyPrefix })
  await client.set('a', 'prefixed', 'PX', 60_000)
  t.same(await Promise.all([get('a'), get('b')]), ['prefixed', null])
})

t.test('everything in flight fails at once with the connection, and nothing is sent again', async (t) => {
  const { way, client, get, key } = await open(t)
  way.freeze('reply')
  const gets = [get(key), get(key)]
  await turn()
  gets.push(get(key))
  await turn()
  const closed = once(client, 'close')
  client.stream.destroy()
  await closed
  way.pass()
  for (const outcome of await Promise.allSettled(gets)) t.equal(outcome.status, 'rejected')
  await t.rejects(get(key), { message: /writeable/ }, 'without a connection it fails in the same turn')
  await once(client, 'ready')
  t.equal(await get(key), null)
})

t.test('a reply in another protocol ends the connection', async (t) => {
  const { way, client, get, key } = await open(t)
  way.alterReplies(() => Buffer.from('HTTP/1.1 400 Bad Request\r\n'))
  const closed = new Promise<void>((resolve) => { client.once('close', resolve) })
  await t.rejects(get(key), { message: /RESP|Protocol/i })
  await closed
  way.pass()
  await once(client, 'ready')
  t.equal(await get(key), null)
})

t.test('a reply in pieces is put together', async (t) => {
  const { way, client, get, key } = await open(t)
  await client.set(key, 'one value', 'PX', 60_000)
  let half: Buffer | null = null
  way.alterReplies((chunk) => {
    if (half !== null) return Buffer.concat([half, chunk])
    half = chunk.subarray(5)
    return chunk.subarray(0, 5)
  })
  const first = get(key)
  await until(() => half !== null, 'the first piece arrives')
  t.same(await Promise.all([first, get(key)]), ['one value', 'one value'])
})

t.test('a client that waits for its connection, or sends again, crosses no replies', async (t) => {
  const client = new Redis(redisUrl(), { lazyConnect: true, reconnectOnError: ({ message }) => message.startsWith('WRONGTYPE') ? 2 : false })
  t.teardown(() => client.disconnect())
  const [get, key] = [reading(createReader(client)), uniqueNamespace()]
  const queued = [get(`${key}a`), get(`${key}b`)]
  await turn()
  const set = client.set(`${key}b`, 'b', 'PX', 60_000)
  queued.push(get(`${key}b`))
  t.same(await Promise.all([...queued, set]), [null, null, 'b', 'OK'])
  await client.lpush(`${key}l`, 'x')
  const again = get(`${key}l`)
  await once(client, 'close')
  const other = new Redis(redisUrl())
  t.teardown(() => other.disconnect())
  await other.set(`${key}l`, 'no list', 'PX', 60_000)
  t.equal(await again, 'no list')
})

t.test('tracers may replace the callbacks of a command', async (t) => {
  const { client, get, key } = await open(t)
  const seen: string[] = []
  const send = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    for (const name of ['resolve', 'reject'] as const) {
      const original = command[name]
      command[name] = (outcome: any) => { seen.push(`${command.name} ${command.args} ${name}`); original(outcome) }
    }
    return send(command, stream)
  }
  t.equal(await get(key), null)
  await client.lpush(key, 'x')
  await client.pexpire(key, 60_000)
  await t.rejects(get(key), /WRONGTYPE/)
  t.same(seen.filter((line) => line.startsWith('get')), [`get ${key} resolve`, `get ${key} reject`])
})

t.test('the tracing of ioredis gets no command whose end it would not see', async (t) => {
  const { client, get, key } = await open(t)
  const traced: string[] = []
  const note = (message: unknown) => { traced.push((message as { command: string }).command) }
  subscribe('tracing:ioredis:command:start', note)
  t.teardown(() => unsubscribe('tracing:ioredis:command:start', note))
  await Promise.all([get(key), client.exists(key)])
  t.same(traced, ['exists'])
})

t.test('a callback is called after the parser, which loses its place in ioredis 5 if one throws', async (t) => {
  const { client, key } = await open(t)
  const read = createReader(client)
  const steps: string[] = []
  client.sendCommand = (command) => {
    command.resolve(null)
    steps.push('parsed')
  }
  await new Promise<void>((resolve) => read(key, (error, value) => { steps.push(`${error} ${value}`); resolve() }))
  client.sendCommand = (command) => {
    command.reject(new Error('refused'))
    steps.push('parsed')
  }
  await new Promise<void>((resolve) => read(key, (error, value) => { steps.push(`${error} ${value}`); resolve() }))
  t.same(steps, ['parsed', 'null null', 'parsed', 'Error: refused null'])
})

t.test('a Cluster is read by its own client, with its errors', async (t) => {
  const outcomes: Record<string, unknown[]> = { absent: [null, null], present: [null, 'value'], refused: [new Error('refused')], empty: [] }
  const cluster = { isCluster: true, get: (key: string, done: (...outcome: unknown[]) => void) => done(...outcomes[key]!) }
  const read = createReader(cluster as unknown as Cluster)
  const seen: unknown[] = []
  for (const key of Object.keys(outcomes)) read(key, (...outcome) => { seen.push(outcome) })
  t.same(seen, [[null, null], [null, 'value'], [new Error('refused'), null], [null, null]])
})
