import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import t from 'tap'
import { openRedis } from '../../lib/redis/client.js'
import { redactCommand } from '../../lib/redis/errors.js'
import { SILENT } from '../helpers/silent.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { until } from '../helpers/until.js'

t.test('a Redis that refuses the connection is logged with its reason and no secret', async (t) => {
  const server = await createRedisServer(t)
  await server.start()
  const admin = new Redis(server.url)
  t.teardown(() => admin.disconnect())
  await admin.call('ACL', 'SETUSER', 'known', 'on', '>hunter2', '~*', '+@all')

  async function reasonOf (options: RedisOptions & { url?: string }): Promise<string> {
    const lines: { fields: any, message: string }[] = []
    const logger = { info () {}, warn: (fields: object, message: string) => { lines.push({ fields, message }) }, error () {} }
    const client = openRedis(options, logger)
    t.teardown(() => client.disconnect())
    client.connect().catch(() => {})
    await until(() => lines.length > 0, 'it is logged')
    t.notMatch(JSON.stringify(lines), /hunter2|a wrong one/)
    const { fields: { reason }, message } = lines[0]!
    t.equal(message, `Redis refused the connection (${reason}): tokens are looked up in the database until it is back`)
    return reason
  }

  t.match(await reasonOf({ url: server.url, username: 'known', password: 'a wrong one' }), /^WRONGPASS to (HELLO|AUTH)$/)
  t.match(await reasonOf({ url: server.url, username: 'nobody', password: 'hunter2' }), /^WRONGPASS to (HELLO|AUTH)$/)
  t.equal(await reasonOf({ url: `${server.url}/99` }), 'it has no database 99')
  const web = createServer((_request, response) => response.end()).listen(0, '127.0.0.1')
  t.teardown(() => web.close())
  await once(web, 'listening')
  t.equal(await reasonOf({ host: '127.0.0.1', port: (web.address() as AddressInfo).port }), 'the server is no Redis')
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
