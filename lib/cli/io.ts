import type { Readable, Writable } from 'node:stream'
import type { Now } from '../../types/options.js'
import { whenOrphaned } from './parent.js'
import { monotonicNow } from '../tools/monotonic.js'

export type Environment = Readonly<Record<string, string | undefined>>

/** Everything that a command reads from and writes to. */
export interface Io {
  env: Environment
  stdin: Readable & { isTTY?: boolean }
  stdout: Writable
  stderr: Writable
  monotonicNow: Now
  /** Calls the listener at SIGINT and SIGTERM, and when the npm that started the process has ended. The returned function removes it. */
  onSignal (listener: () => void): () => void
  /** Ends the process at once. */
  exit (code: number): void
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const
/** npm repeats the signal that the terminal has already sent. A second one within this time counts as the same Ctrl-C. */
const ECHO_MS = 1000
const INTERRUPTED = 130
/** Control characters, line and paragraph separators, and characters that change the direction of writing. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu

export function processIo (): Io {
  const { env, stdin, stdout, stderr } = process
  return {
    env,
    stdin,
    stdout,
    stderr,
    monotonicNow,
    onSignal (listener) {
      for (const signal of SIGNALS) process.on(signal, listener)
      const forgetParent = env['npm_command'] === undefined ? () => {} : whenOrphaned(listener)
      return () => {
        forgetParent()
        for (const signal of SIGNALS) process.off(signal, listener)
      }
    },
    exit: (code) => process.exit(code)
  }
}

/** Prints each text in one line. */
export function print (stream: Writable, ...lines: string[]): void {
  stream.write(lines.map((line) => `${printable(line)}\n`).join(''))
}

/** The text with unprintable characters escaped. Names come from users and messages from servers, so they may contain terminal codes. */
export function printable (text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Resolves at the first signal. A later one ends the process at once, because a graceful close may wait for slow requests. */
export function untilSignal ({ onSignal, monotonicNow, exit }: Io): { signalled: Promise<void>, forget: () => void } {
  let firstAt: number | null = null
  let resolve: () => void
  const signalled = new Promise<void>((_resolve) => { resolve = _resolve })
  const forget = onSignal(() => {
    if (firstAt !== null && monotonicNow() - firstAt >= ECHO_MS) return exit(INTERRUPTED)
    firstAt ??= monotonicNow()
    resolve()
  })
  return { signalled, forget }
}
