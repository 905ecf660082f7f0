import { ADMIN_FLAGS, REVOKING_FLAGS, withAdmin, withEveryCache } from './admin-app.js'
import type { AdminApp } from './admin-app.js'
import { defineCommand } from './command.js'
import { print } from './io.js'
import { readPassword } from './password.js'

/** Ends what is left to end, and notifies of what was ended a moment ago. */
function endAll (username: string): (app: AdminApp) => Promise<number> {
  return async ({ tokenAuth, findUserId }) => await tokenAuth.revokeUser(await findUserId(username))
}

/** `create-user`. */
export const createUser = defineCommand({
  name: 'create-user',
  takes: ['username'],
  summary: 'add a user; the password is read from the terminal or from stdin',
  flags: ADMIN_FLAGS,
  async run (io, values, username) {
    const user = await withAdmin(io, values, async ({ tokenAuth }) => await tokenAuth.createUser({ username, password: await readPassword(io) }))
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

/** `revoke-user`. */
export const revokeUser = defineCommand({
  name: 'revoke-user',
  takes: ['username'],
  summary: 'end all sessions of a user',
  details: ['Set REDIS_URL to the Redis of the servers, which learn of the revocation there.'],
  flags: REVOKING_FLAGS,
  async run (io, values, username) {
    const ended = await withEveryCache(io, values, endAll(username), endAll(username))
    print(io.stdout, `Ended ${ended} ${ended === 1 ? 'session' : 'sessions'} of ${username}`)
    return 0
  }
})
