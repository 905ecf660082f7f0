import { INVALID_OPTION } from '../errors.js'
import { ADMIN_FLAGS, withAdmin } from './admin-app.js'
import type { AdminApp } from './admin-app.js'
import { REVOKING_FLAGS, withEveryCache } from './every-cache.js'
import { defineCommand } from './command.js'
import { print } from './io.js'
import type { Io } from './io.js'
import { readPassword } from './password.js'
import type { RevokeProgress } from '../../types/token-auth.js'

/** Ends what is left to end, and notifies of what was ended a moment ago. */
function endAll (username: string): (app: AdminApp) => Promise<number> {
  return async ({ tokenAuth, findUserId }) => await tokenAuth.revokeUser(await findUserId(username))
}

/** `create-user`. */
export const createUser = defineCommand({
  name: 'create-user',
  takes: ['username'],
  summary: 'add a user; the password is read from the terminal or from stdin',
  flags: { set: { type: 'string', multiple: true, value: '<column>=<value>', about: 'a further column of the users table; can be repeated' }, ...ADMIN_FLAGS },
  async run (io, values, username) {
    const fields = toFields(values.set)
    const user = await withAdmin(io, values, async ({ tokenAuth }) => await tokenAuth.createUser({ username, password: await readPassword(io), fields }))
    print(io.stdout, `Created ${username}, id ${user.id}`)
    return 0
  }
})

/** `set-password`. */
export const setPassword = defineCommand({
  name: 'set-password',
  takes: ['username'],
  summary: 'set a user\'s password and end all sessions; the password is read from the terminal or from stdin',
  flags: REVOKING_FLAGS,
  async run (io, values, username) {
    await withEveryCache(io, values, async ({ tokenAuth, findUserId }) => {
      const id = await findUserId(username)
      await tokenAuth.setPassword(id, await readPassword(io))
    }, endAll(username))
    print(io.stdout, `Set the password of ${username}; every session has ended`)
    return 0
  }
})

/** `revoke-all`. */
export const revokeAll = defineCommand({
  name: 'revoke-all',
  summary: 'end all sessions of all users',
  details: ['For a leaked database or a restored backup. Set REDIS_URL to the Redis of the servers, which learn of the revocations there.'],
  flags: REVOKING_FLAGS,
  async run (io, values) {
    const endEverything = async ({ tokenAuth }: AdminApp) => await tokenAuth.revokeAll({ onProgress: reportEvery(1000, io) })
    const ended = await withEveryCache(io, values, endEverything, endEverything)
    print(io.stdout, `Ended ${sessions(ended)} of all users`)
    return 0
  }
})

/** `revoke-user`. */
export const revokeUser = defineCommand({
  name: 'revoke-user',
  takes: ['username'],
  summary: 'end all sessions of a user',
  details: ['Set REDIS_URL to the Redis of the servers, which learn of the revocation there.'],
  flags: REVOKING_FLAGS,
  async run (io, values, username) {
    const ended = await withEveryCache(io, values, endAll(username), endAll(username))
    print(io.stdout, `Ended ${sessions(ended)} of ${username}`)
    return 0
  }
})

function sessions (number: number): string {
  return `${number} ${number === 1 ? 'session' : 'sessions'}`
}

function reportEvery (step: number, { stdout }: Io): (progress: RevokeProgress) => void {
  let next = step
  return ({ revoked }) => {
    if (revoked < next) return
    next = revoked + step
    print(stdout, `${sessions(revoked)} ended`)
  }
}

/** `display_name=Ann` as a column and its value. */
function toFields (assignments: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(assignments.map((assignment) => {
    const at = assignment.indexOf('=')
    if (at < 1) throw new INVALID_OPTION('--set must be <column>=<value>, such as --set display_name=Ann')
    return [assignment.slice(0, at), assignment.slice(at + 1)]
  }))
}
