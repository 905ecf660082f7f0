import { Redis } from 'ioredis'
import t from 'tap'
import { openRedis } from '../../lib/redis/client.js'
import { redactCommand } from '../../lib/redis/errors.js'
import { SILENT } from '../helpers/silent.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { until } from '../helpers/until.js'

t.test('a Redis that refuses the connection is logged with the word of its reply, the command, and no secret', async (t) => {
  const server = await createRedisServer(t)
  await server.start()
  const admin = new Redis(server.url)
  t.teardown(() => admin.disconnect())
  await admin.call('ACL', 'SETUSER', 'known', 'on', '>hunter2', '~*', '+@all')

  async function reasonOf (username: string, password: string): Promise<string> {
    const lines: { fields: any, message: string }[] = []
    const logger = { info () {}, warn: (fields: object, message: string) => { lines.push({ fields, message }) }, error () {} }
    const client = openRedis({ url: server.url, username, password }, logger)
    t.teardown(() => client.disconnect())
    client.connect().catch(() => {})
    await until(() => lines.length > 0, 'it is logged')
    t.notMatch(JSON.stringify(lines), /hunter2|a wrong one/)
    t.match(lines[0]!.message, 'Redis cannot be reached')
    return lines[0]!.fields.reason
  }

  t.match(await reasonOf('known', 'a wrong one'), /^WRONGPASS to (HELLO|AUTH)$/)
  t.match(await reasonOf('nobody', 'hunter2'), /^WRONGPASS to (HELLO|AUTH)$/)
})

t.test('a command that Redis refuses is named', async (t) => {
  const server = await createRedisServer(t)
  await server.start()
  const client = openRedis({ url: server.url }, SILENT) as Redis
  t.teardown(() => client.disconnect())
  await client.connect()
  await client.call('ACL', 'SETUSER', 'default', '-get')
  const error = await client.get('a secret key').catch(redactCommand)
  t.match(error, { message: 'Redis answered NOPERM to GET' })
})
