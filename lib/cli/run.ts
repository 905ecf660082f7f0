import { INVALID_OPTION } from '../errors.js'
import { columns } from './command.js'
import { explainFailure } from './failure.js'
import { print } from './io.js'
import type { Io } from './io.js'
import { migrate } from './migrate.js'
import { version } from './packages.js'
import { prune } from './prune.js'
import { serve } from './serve.js'
import { createUser, revokeAll, revokeUser, setPassword } from './users.js'

const COMMANDS = [serve, migrate, createUser, setPassword, revokeUser, revokeAll, prune]

const HELP = `Usage: fastify-token-auth <command> [options]

Commands:
${columns(COMMANDS.map(({ name, summary }) => [name, summary])).join('\n')}

Run a command with --help to see its options.

Environment:
${columns([
  ['DATABASE_URL', 'postgres://user:password@host:port/database (default: an embedded database in .data)'],
  ['REDIS_URL', 'redis://host:port, or rediss:// for TLS (default: a cache in the process)'],
  ['PORT, HOST', 'the address that serve listens on (default 3000 and 127.0.0.1)'],
  ['TOKEN_EXPIRY_IN_SECONDS', 'the life of a token, 60 or more (default 30 days)'],
  ['RECAPTCHA_KEY', 'the secret key of reCAPTCHA version 2; logins then need a captcha'],
  ['TRUST_PROXY', 'the proxies whose X-Forwarded-For is trusted: addresses or networks such as 10.0.0.0/8, false, or true']
]).join('\n')}

Exit codes: 0 success, 1 failure, 2 wrong usage.
`

/** Runs a command and resolves to the exit code. A failure is printed as one line on stderr. */
export async function run (args: string[], io: Io): Promise<number> {
  // A command goes on when the reader of its output ends, such as `head`.
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
  if (['--help', '-h', 'help'].includes(name!)) return show(io, HELP)
  if (['--version', '-v'].includes(name!)) return show(io, `${version}\n`)
  throw new INVALID_OPTION(`${name === undefined ? 'No command' : `Unknown command ${JSON.stringify(name)}`}; commands are: ${COMMANDS.map(({ name }) => name).join(', ')} (and --help, --version)`)
}

function show ({ stdout }: Io, text: string): number {
  stdout.write(text)
  return 0
}
