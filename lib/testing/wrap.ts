import { list, refuse } from '../options/rules.js'
import type { Rule } from '../options/rules.js'
import { optional, readOptions } from './options.js'
import type { Wrap } from './scheduler.js'

export interface WrapSettings {
  /** Calls whose reply is a step too: other steps may come between what the call did and who asked hearing of it. */
  replies?: readonly string[]
}

export interface WrapParts {
  /** Whether a process is calling. Calls from outside, such as those of a check, are no steps. */
  isInProcess: () => boolean
  arrive: (port: string, call: string, isReply: boolean) => Promise<void>
  completed: () => void
}

type Call = (...args: unknown[]) => unknown

/** Makes calls wait for their turn, those that answer by a promise and those that answer a callback, given last. */
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
    const { replies } = readOptions<Required<WrapSettings>>(settings, { replies: optional([], list(methodOfPort, { min: 0 })) })
    // By a proxy, so that an instance of a class keeps its methods.
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
