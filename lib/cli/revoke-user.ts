import { defineCommand } from './command.js'
import { print } from './io.js'
import { ENDING_FLAGS, withServersTold } from './admin-app.js'

/** `revoke-user`. */
export const revokeUser = defineCommand({
  name: 'revoke-user',
  takes: ['username'],
  summary: 'end all sessions of a user',
  details: ['Set REDIS_URL to the servers\' Redis: they hear of it there.'],
  flags: ENDING_FLAGS,
  async run (io, values, username) {
    const ended = await withServersTold(io, values, async ({ tokenAuth, findUserId }) => await tokenAuth.revokeUser(await findUserId(username)))
    print(io.stdout, `Ended ${ended} ${ended === 1 ? 'session' : 'sessions'} of ${username}`)
    return 0
  }
})
