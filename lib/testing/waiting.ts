/** One call of a port by a process, or the arrival of its reply if that is a step of its own. */
export interface Step {
  /** `reader A: cache.get`. From the second time on it has a number: `reader A: cache.get #2`. */
  readonly label: string
  readonly process: string
  readonly port: string
  readonly call: string
  readonly isReply: boolean
}

/** A step that was taken. */
export interface TakenStep {
  step: Step
  /** The index of the step after which the process came here. `-1`: it was here from the start. */
  enabledBy: number
  /** The steps that waited before and after, and whose condition was changed. */
  changed: readonly Step[]
}

/** What a process is about to do. */
export interface Arrival {
  port: string
  call: string
  isReply: boolean
  /** The condition of the step, in the current state. */
  isPossible: () => boolean
  /** Withdraws the step. `null`: it cannot be withdrawn. */
  signal: AbortSignal | null
}

export interface WaitingStep {
  step: Step
  enabledBy: number
  proceed: () => void
}

/** The steps that processes wait to take. */
export interface WaitingSteps {
  /** Resolves when the step is taken. Rejects with the reason of the signal if that comes first. */
  add (process: string, arrival: Arrival, enabledBy: number): Promise<void>
  /** Evaluates the conditions. To be called once after each step. */
  look (): { possible: WaitingStep[], changed: Step[] }
  remove (label: string): void
  labels (): string[]
}

interface Entry extends WaitingStep {
  isPossible: () => boolean
  /** At the last look. `null`: there was none. */
  wasPossible: boolean | null
}

export function createWaitingSteps (): WaitingSteps {
  const entries = new Map<string, Entry>()
  const calls = new Map<string, number>()

  function labelOf (name: string): string {
    const count = (calls.get(name) ?? 0) + 1
    calls.set(name, count)
    return count === 1 ? name : `${name} #${count}`
  }

  return {
    async add (process, { port, call, isReply, isPossible, signal }, enabledBy) {
      signal?.throwIfAborted()
      const label = labelOf(`${process}: ${port}.${call}${isReply ? ' reply' : ''}`)
      const step = { label, process, port, call, isReply }
      await new Promise<void>((resolve, reject) => {
        // When the step has been taken, this has no effect.
        signal?.addEventListener('abort', () => { entries.delete(label); reject(signal.reason) }, { once: true })
        entries.set(label, { step, enabledBy, proceed: resolve, isPossible, wasPossible: null })
      })
    },
    look () {
      const changed: Step[] = []
      for (const entry of entries.values()) {
        const is = entry.isPossible()
        if (entry.wasPossible === !is) changed.push(entry.step)
        entry.wasPossible = is
      }
      return { possible: [...entries.values()].filter(({ wasPossible }) => wasPossible), changed }
    },
    remove: (label) => { entries.delete(label) },
    labels: () => [...entries.keys()]
  }
}
