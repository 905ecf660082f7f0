import { boolean, callable, entry, isObject, list, readTable, refuse } from '../options/rules.js'
import type { Rule } from '../options/rules.js'
import type { Arrival } from './waiting.js'

/** Returns the port with each of its calls made a step, if a process makes the call. Schedules show the port by its name. */
export type Wrap = <Port extends object>(name: string, port: Port, settings?: WrapSettings<Port>) => Port

export interface WrapSettings<Port extends object = object> {
  /** Calls whose reply is a step of its own: other steps may come between the effect of the call and the arrival of its reply. */
  replies?: readonly string[]
  /**
   * Calls that wait, such as `receive`. They are possible only while their condition returns true. It is asked after each step, with the
   * arguments of the call, and must change nothing. A call with a `signal` in one of its arguments (`receive({ signal })`) is withdrawn when
   * that is aborted: it rejects with the reason, and is no step.
   */
  when?: Conditions<Port>
}

/** Conditions by method. */
export type Conditions<Port extends object> = {
  readonly [Method in keyof Port]?: Port[Method] extends (...args: infer Args) => unknown ? (...args: Args) => boolean : never
}

export interface WrapParts {
  /** Whether a process makes the call. Other calls, such as those of a check, are not steps. */
  isInProcess: () => boolean
  arrive: (arrival: Arrival) => Promise<void>
  completed: () => void
}

type Call = (...args: unknown[]) => unknown

/** Makes calls wait for their turn, whether they return a promise or take a callback as their last argument. */
export function createWrap ({ isInProcess, arrive, completed }: WrapParts): Wrap {
  function gated (port: string, call: string, work: Call, { hasReply, condition }: { hasReply: boolean, condition: Call | undefined }): Call {
    async function inTurn (args: unknown[], work: () => unknown): Promise<unknown> {
      await arrive({ port, call, isReply: false, ...waitFor(condition, call, args) })
      try {
        return await work()
      } finally {
        completed()
        if (hasReply) await arrive({ port, call, isReply: true, ...AT_ANY_TIME }).then(completed)
      }
    }

    return (...args) => {
      if (!isInProcess()) return work(...args)
      const done = args.at(-1)
      if (typeof done !== 'function') return inTurn(args, () => work(...args))
      const answer = inTurn(args, () => new Promise((resolve) => work(...args.slice(0, -1), (...values: unknown[]) => resolve(values))))
      answer.then((values) => done(...values as unknown[]), done as Call)
    }
  }

  return (name, port, settings = {}) => {
    if (Object(port) !== port) refuse(`the port ${name}`, 'an object', port)
    const { replies, when } = readSettings(name, port, settings)
    // A proxy, so that an instance of a class keeps its methods.
    return new Proxy(port, {
      get (target, key) {
        const member = Reflect.get(target, key)
        if (typeof member !== 'function') return member
        const method = String(key)
        return gated(name, method, member.bind(target), { hasReply: replies.includes(method), condition: when.get(method) })
      }
    })
  }
}

const AT_ANY_TIME: Pick<Arrival, 'isPossible' | 'signal'> = { isPossible: () => true, signal: null }

function waitFor (condition: Call | undefined, call: string, args: unknown[]): Pick<Arrival, 'isPossible' | 'signal'> {
  if (condition === undefined) return AT_ANY_TIME
  const signals = args.map((arg) => (arg as { signal?: unknown } | null | undefined)?.signal)
  return {
    // A promise would count as true.
    isPossible: () => boolean()(condition(...args), `what when.${call} gives`),
    signal: signals.find((signal) => signal instanceof AbortSignal) ?? null
  }
}

function readSettings (name: string, port: object, settings: object): { replies: readonly string[], when: Map<string, Call> } {
  const methodOfPort: Rule<string> = (value, path) =>
    typeof Reflect.get(port, value as string) === 'function' ? value as string : refuse(path, `a method of ${name}`, value)
  const conditions: Rule<Map<string, Call>> = (value, path) => {
    if (!isObject(value)) return refuse(path, 'an object', value)
    return new Map(Object.entries(value).map(([method, condition]) => [methodOfPort(method, `each of ${path}`), callable<Call>()(condition, `${path}.${method}`)]))
  }
  return readTable({ replies: entry([], list(methodOfPort, { min: 0 })), when: entry({}, conditions) }, settings, { prefix: '' })
}
