import { createInterface } from 'node:readline'
import type { Interface } from 'node:readline'
import { Writable } from 'node:stream'
import { COMMAND_FAILED } from '../errors.js'
import type { Io } from './io.js'

/** A new password: entered twice at a terminal, without echo, or the first line of stdin. */
export async function readPassword (io: Io): Promise<string> {
  const isTerminal = io.stdin.isTTY === true
  const lines = openLines(io, isTerminal)
  // One reader for both lines: a second one would miss lines that are pasted together.
  const next = readerOf(lines)
  try {
    return isTerminal ? await promptTwice(io, next) : await next()
  } finally {
    lines.close()
  }
}

function openLines ({ stdin: input }: Io, isTerminal: boolean): Interface {
  if (!isTerminal) return createInterface({ input, crlfDelay: Infinity })
  const silent = new Writable({ write: (_chunk, _encoding, done) => { done() } })
  const lines = createInterface({ input, output: silent, terminal: true, historySize: 0 })
  lines.once('SIGINT', () => lines.close())
  return lines
}

function readerOf (lines: Interface): () => Promise<string> {
  const iterator = lines[Symbol.asyncIterator]()
  return async () => {
    const { value, done } = await iterator.next()
    if (done === true) throw new COMMAND_FAILED('No password given: nothing was changed')
    return value
  }
}

async function promptTwice ({ stderr }: Io, next: () => Promise<string>): Promise<string> {
  const prompt = async (label: string) => {
    stderr.write(label)
    return await next().finally(() => stderr.write('\n'))
  }
  const password = await prompt('Password: ')
  if (password === await prompt('Repeat the password: ')) return password
  throw new COMMAND_FAILED('The two passwords differ: nothing was changed')
}
