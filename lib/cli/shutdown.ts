import type { Io } from './io.js'

/** npm passes on the signal that the terminal has sent already; what comes so soon is the same Ctrl-C. */
const ECHO_MS = 1000
const INTERRUPTED = 130

/** Resolves at the first signal. A later one ends the process at once: closing may wait for slow requests. */
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
