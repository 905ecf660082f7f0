import { stallTolerantTimeout } from './deadline.js'

export interface SilenceWatch {
  /** Call it when an answer did not arrive in time. */
  missed (): void
  /** Call it for every answer, in time or late. */
  heard (): void
}

/**
 * Calls back when no answer at all arrives for `timeoutMs` after one was missed. A slow peer answers late, which is not
 * silence, and a busy event loop reads data that has already arrived first.
 */
export function createSilenceWatch ({ timeoutMs, onSilent }: { timeoutMs: number, onSilent: () => void }): SilenceWatch {
  let cancel: (() => void) | null = null

  function heard (): void {
    cancel?.()
    cancel = null
  }

  return {
    missed () {
      cancel ??= stallTolerantTimeout(timeoutMs, () => {
        cancel = null
        onSilent()
      })
    },
    heard
  }
}
