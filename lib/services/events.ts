import { channel } from 'node:diagnostics_channel'
import type { AuthEventName, AuthEvents, AuthHooks } from '../../types/events.js'
import type { Logger } from '../ports.js'
import { createHookCalls } from './hook-calls.js'
import type { HookCalls, Later } from './hook-calls.js'

export type Emit = <Name extends AuthEventName>(name: Name, event: AuthEvents[Name]) => void

/** Calls of one hook that have not returned: with more, its events are dropped. A hook that hangs may not fill the memory. */
const MOST_CALLS = 1000
/** The same for what a stranger can cause as often as he likes. */
const MOST_REFUSALS = 200
const REFUSALS: ReadonlySet<string> = new Set<AuthEventName>(['tokenRefused', 'loginFailed', 'passwordChangeFailed'])

/**
 * Tells hooks and `diagnostics_channel` (`fastify-token-auth:<name>`) what happened, detached from the request.
 * Each hook has calls of its own: a flood of refusals makes no other hook deaf.
 */
export function createEvents ({ hooks, logger, later }: { hooks: AuthHooks, logger: Logger, later?: Later }): Emit {
  const calls = new Map<AuthEventName, HookCalls>()
  for (const [key, hook] of Object.entries(hooks)) {
    const name = `${key[2]!.toLowerCase()}${key.slice(3)}` as AuthEventName
    const most = REFUSALS.has(name) ? MOST_REFUSALS : MOST_CALLS
    if (typeof hook === 'function') calls.set(name, createHookCalls({ hook: hook as (event: unknown) => unknown, name, most, logger, later }))
  }

  return (name, event) => {
    const hook = calls.get(name)
    // Counted when it begins: a hook that returns at once drops nothing, however many events one turn brings.
    if (hook !== undefined) setImmediate(hook.call, event)
    channel(`fastify-token-auth:${name}`).publish(event)
  }
}
