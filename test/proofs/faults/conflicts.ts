import type { FastifyInstance } from 'fastify'
import pg from 'pg'
import type { Test } from 'tap'
import { PreparedClient } from '../../../lib/index.js'
import { caller, PASSWORD } from '../../helpers/app.js'
import { createCast, login, me } from './world.js'
import type { World } from './world.js'
import { until } from '../../helpers/until.js'

const NEW_PASSWORD = 'a correcter horse battery'

interface Patient {
  server: FastifyInstance
  /** The SQLSTATEs of the errors that PostgreSQL has returned to it. */
  sqlstates: string[]
  untilWaiting (): Promise<void>
}

/** A server with long time limits, so that PostgreSQL decides which transaction fails. */
async function bootPatient (t: Test, { boot }: World, client: pg.Client, settings: string): Promise<Patient> {
  const { host, port, user, database } = client
  const pool = new pg.Pool({ host, port, user, database, Client: PreparedClient, options: `-c lock_timeout=30s ${settings}`, application_name: 'patient' })
  const sqlstates: string[] = []
  pool.on('connect', (client) => { (client as any).connection.on('errorMessage', ({ code }: { code: string }) => { sqlstates.push(code) }) })
  const server = await boot(t, { database: pool, lookup: { timeout: '20s' } })
  t.teardown(() => pool.end())
  return {
    server,
    sqlstates,
    untilWaiting: () => until(async () => {
      const { rows } = await client.query("select 1 from pg_stat_activity where application_name = 'patient' and wait_event_type = 'Lock'")
      return rows.length > 0
    }, 'the server waits for a lock')
  }
}

/** Tests conflicts between transactions that PostgreSQL itself detects. `client` is another connection, of a superuser. */
export async function testConflicts (t: Test, world: World, client: pg.Client): Promise<void> {
  await t.test('a change of password that is the victim of a deadlock is retried', async (t) => {
    const { id, username, cached, leaving } = await createCast(world, async () => {})
    const { server, sqlstates, untilWaiting } = await bootPatient(t, world, client, '-c deadlock_timeout=3s')
    await client.query("set deadlock_timeout = '60s'")
    await client.query('begin')
    await client.query('select 1 from auth_tokens where user_id = $1 for update', [id])
    const change = caller(server)('POST', '/auth/change-password', { token: cached, body: { currentPassword: PASSWORD, newPassword: NEW_PASSWORD } })
    await untilWaiting()
    await client.query('update users set active = active where id = $1', [id])
    await client.query('commit')
    const reply = await change
    t.equal(reply.statusCode, 200, reply.body)
    // On a busy machine it may conflict with the same transaction once more.
    t.same([...new Set(sqlstates)], ['40P01'])
    t.equal(await me(server, leaving), '401 INVALID_TOKEN')
    t.equal(await login(server, username), '401 INVALID_CREDENTIALS', 'the old password is invalid')
  })

  await t.test('under repeatable read a login waits for a concurrent change of its user, and needs no retry', async (t) => {
    const { id, username } = await createCast(world, async () => {})
    const { server, sqlstates, untilWaiting } = await bootPatient(t, world, client, '-c default_transaction_isolation=repeatable\\ read')
    await client.query('begin')
    await client.query('update users set active = active where id = $1', [id])
    const reply = login(server, username)
    await untilWaiting()
    await client.query('commit')
    t.equal(await reply, '200')
    t.same(sqlstates, [])
  })
}
