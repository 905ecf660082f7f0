import { defineCommand } from './command.js'
import { print } from './io.js'
import { readPassword } from './password.js'
import { TOOL_FLAGS, withTokenAuth } from './admin-app.js'

/** `create-user`. */
export const createUser = defineCommand({
  name: 'create-user',
  takes: ['username'],
  summary: 'add a user; the password is asked for, or read from stdin',
  flags: TOOL_FLAGS,
  async run (io, values, username) {
    const user = await withTokenAuth(io, values, async ({ tokenAuth }) => await tokenAuth.createUser({ username, password: await readPassword(io) }))
    print(io.stdout, `Created ${username}, id ${user.id}`)
    return 0
  }
})
