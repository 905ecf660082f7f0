import { defineCommand } from './command.js'
import { print } from './io.js'
import { readPassword } from './password.js'
import { ENDING_FLAGS, withServersTold } from './admin-app.js'

/** `set-password`. */
export const setPassword = defineCommand({
  name: 'set-password',
  takes: ['username'],
  summary: 'set a user\'s password and end all sessions; it is asked for, or read from stdin',
  flags: ENDING_FLAGS,
  async run (io, values, username) {
    await withServersTold(io, values, async ({ tokenAuth, findUserId }) => {
      const id = await findUserId(username)
      await tokenAuth.setPassword(id, await readPassword(io))
    })
    print(io.stdout, `Set the password of ${username}; every session has ended`)
    return 0
  }
})
