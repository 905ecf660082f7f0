import type { Readable, Writable } from 'node:stream'
import type { Now } from '../../types/options.js'
import { printable } from './printable.js'

export type Environment = Readonly<Record<string, string | undefined>>

/** The world as a command sees it. */
export interface Io {
  env: Environment
  stdin: Readable & { isTTY?: boolean }
  stdout: Writable
  stderr: Writable
  monotonicNow: Now
  /** Calls the listener at SIGINT and SIGTERM, until the function that it returns is called. */
  onSignal (listener: () => void): () => void
  /** Ends the process at once. */
  exit (code: number): void
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

export function processIo (): Io {
  const { env, stdin, stdout, stderr } = process
  return {
    env,
    stdin,
    stdout,
    stderr,
    monotonicNow: () => performance.now(),
    onSignal (listener) {
      for (const signal of SIGNALS) process.on(signal, listener)
      return () => { for (const signal of SIGNALS) process.off(signal, listener) }
    },
    exit: (code) => process.exit(code)
  }
}

/** Prints each in a line of its own, whatever is in it. */
export function print (stream: Writable, ...lines: string[]): void {
  stream.write(lines.map((line) => `${printable(line)}\n`).join(''))
}
