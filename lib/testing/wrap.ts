import { entry, list, readTable, refuse } from '../options/rules.js'
import type { Rule } from '../options/rules.js'

/** Returns the port with each of its calls made a step, if a process makes the call. Schedules show the port by its name. */
export type Wrap = <Port extends object>(name: string, port: Port, settings?: WrapSettings) => Port

export interface WrapSettings {
  /** Calls whose reply is a step of its own: other steps may come between the effect of the call and the arrival of its reply. */
  replies?: readonly string[]
}

export interface WrapParts {
  /** Whether a process makes the call. Other calls, such as those of a check, are not steps. */
  isInProcess: () => boolean
  arrive: (port: string, call: string, isReply: boolean) => Promise<void>
  completed: () => void
}

type Call = (...args: unknown[]) => unknown

/** Makes calls wait for their turn, whether they return a promise or take a callback as their last argument. */
export function createWrap ({ isInProcess, arrive, completed }: WrapParts): Wrap {
  function gated (name: string, method: string, call: Call, hasReply: boolean): Call {
    async function inTurn (work: () => unknown): Promise<unknown> {
      await arrive(name, method, false)
      try {
        return await work()
      } finally {
        completed()
        if (hasReply) await arrive(name, method, true).then(completed)
      }
    }

    return (...args) => {
      if (!isInProcess()) return call(...args)
      const done = args.at(-1)
      if (typeof done !== 'function') return inTurn(() => call(...args))
      const answer = inTurn(() => new Promise((resolve) => call(...args.slice(0, -1), (...values: unknown[]) => resolve(values))))
      answer.then((values) => done(...values as unknown[]), done as Call)
    }
  }

  return (name, port, settings = {}) => {
    if (Object(port) !== port) refuse(`the port ${name}`, 'an object', port)
    const methodOfPort: Rule<string> = (value, path) =>
      typeof Reflect.get(port, value as string) === 'function' ? value as string : refuse(path, `a method of ${name}`, value)
    const { replies } = readTable<Required<WrapSettings>>({ replies: entry([], list(methodOfPort, { min: 0 })) }, settings, { prefix: '' })
    // A proxy, so that an instance of a class keeps its methods.
    return new Proxy(port, {
      get (target, key) {
        const member = Reflect.get(target, key)
        if (typeof member !== 'function') return member
        const method = String(key)
        return gated(name, method, member.bind(target), replies.includes(method))
      }
    })
  }
}
