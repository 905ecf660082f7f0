import { INVALID_OPTION } from '../errors.js'
import { columns } from './command.js'
import { createUser } from './create-user.js'
import { explainFailure } from './failure.js'
import { print } from './io.js'
import type { Io } from './io.js'
import { migrate } from './migrate.js'
import { prune } from './prune.js'
import { revokeUser } from './revoke-user.js'
import { serve } from './serve.js'
import { setPassword } from './set-password.js'
import { version } from './version.js'

const COMMANDS = [serve, migrate, createUser, setPassword, revokeUser, prune]

const HELP = `Usage: fastify-token-auth <command> [options]

Commands:
${columns(COMMANDS.map(({ name, summary }) => [name, summary])).join('\n')}

Every command tells its options with --help.

Environment:
${columns([
  ['DATABASE_URL', 'postgres://user:password@host:port/database; without it, an embedded database in .data'],
  ['REDIS_URL', 'redis:// or rediss://; without it, a cache in the process'],
  ['PORT, HOST', 'where serve listens; 3000 and 127.0.0.1'],
  ['TOKEN_EXPIRY_IN_SECONDS', 'how long a login lasts, 60 or more; 30 days'],
  ['RECAPTCHA_KEY', 'the secret key of reCAPTCHA version 2; a login then needs its answer'],
  ['TRUST_PROXY', 'whose X-Forwarded-For is believed: a list of addresses or networks such as 10.0.0.0/8, false, or true']
]).join('\n')}

Exit codes: 0 done, 1 failed, 2 called wrongly.
`

/** Runs a command; resolves to the exit code. Failures are told in a line on stderr. */
export async function run (args: string[], io: Io): Promise<number> {
  // A reader that goes away, such as `head`, or the end of a server's log, ends no command.
  for (const stream of [io.stdout, io.stderr]) stream.on('error', () => {})
  try {
    return await dispatch(args, io)
  } catch (error) {
    const { line, code } = explainFailure(error)
    print(io.stderr, `fastify-token-auth: ${line}`)
    return code
  }
}

async function dispatch ([name, ...rest]: string[], io: Io): Promise<number> {
  const command = COMMANDS.find((candidate) => candidate.name === name)
  if (command !== undefined) return await command.run(io, rest)
  if (name === '--help' || name === 'help') return tell(io, HELP)
  if (name === '--version') return tell(io, `${version}\n`)
  throw new INVALID_OPTION(`${name === undefined ? 'No command' : `Unknown command ${JSON.stringify(name)}`}; there are: ${COMMANDS.map(({ name }) => name).join(', ')} (and --help, --version)`)
}

function tell ({ stdout }: Io, text: string): number {
  stdout.write(text)
  return 0
}
