// Users and sessions by the million, and what they take on disk.
import { execute } from '../common.mjs'

export const PASSWORD = 'correct horse battery'
const PER_USER = 10
const USER_AGENT = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36'

/** The user with this number, from 1 to `size / PER_USER`. */
export function userNamed (number) {
  return `user-${number}`
}

export function usersOf (size) {
  return Math.floor(size / PER_USER)
}

/** Adds users with ten live sessions each. All have one password hash, which takes time to make. */
export async function addSessions ({ app, databaseUrl, size }) {
  await app.tokenAuth.createUser({ username: 'alice', password: PASSWORD })
  await execute(databaseUrl, `insert into users (username, password_hash)
    select 'user-' || n, (select password_hash from users) from generate_series(1, ${usersOf(size)}) n`)
  await execute(databaseUrl, `insert into auth_tokens (digest, user_id, created_at, expires_at, last_used_at, ip, user_agent)
    select sha256(random()::text::bytea || n::text::bytea), id, at, at + interval '30 days', at, '192.0.2.1'::inet + (random() * 50)::int, '${USER_AGENT}'
    from (select id, n, now() - random() * interval '29 days' as at from users, generate_series(1, ${PER_USER}) n where username <> 'alice') sessions`)
  await execute(databaseUrl, 'vacuum analyze users, auth_tokens')
}

/** Bytes of the tokens table and of each of its indexes. */
export async function sizesOf (databaseUrl) {
  const { rows } = await execute(databaseUrl, `select c.relname as name, pg_relation_size(c.oid)::float8 as bytes, c.relkind = 'r' as "isTable"
    from pg_class c where c.oid = 'auth_tokens'::regclass or c.oid in (select indexrelid from pg_index where indrelid = 'auth_tokens'::regclass) order by c.relkind desc, c.relname`)
  return { relations: rows }
}

/** Rows of sessions that ended long ago, for `pruneExpired`. */
export async function addEnded (databaseUrl, count) {
  await execute(databaseUrl, `insert into auth_tokens (digest, user_id, created_at, expires_at, last_used_at)
    select sha256(random()::text::bytea || n::text::bytea), null, now() - interval '60 days', now() - interval '30 days', now() - interval '30 days' from generate_series(1, ${count}) n`)
  await execute(databaseUrl, 'analyze auth_tokens')
}
