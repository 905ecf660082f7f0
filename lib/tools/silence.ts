import { stallTolerantTimeout } from './deadline.js'

export interface SilenceWatch {
  /** To be called when an answer did not come in time. */
  missed (): void
  /** To be called at every answer, in time or late. */
  heard (): void
}

/**
 * Calls back when nothing at all is heard for `timeoutMs` after an answer was missed. A peer that is slow answers late, which is no
 * silence, and a busy event loop reads what has arrived first.
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
