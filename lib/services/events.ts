import { channel } from 'node:diagnostics_channel'
import type { AuthEventName, AuthEvents, AuthHooks } from '../../types/events.js'
import type { Logger } from '../ports.js'
import { createHookCalls } from './hook-calls.js'
import type { HookCalls, Later } from './hook-calls.js'

export type Emit = <Name extends AuthEventName>(name: Name, event: AuthEvents[Name]) => void

/** Maximum number of pending calls of one hook; further events are dropped, so that a hanging hook does not fill the memory. */
const MOST_CALLS = 1000
/** The same for events that strangers can cause without limit. */
const MOST_REFUSALS = 200
const REFUSALS: ReadonlySet<string> = new Set<AuthEventName>(['tokenRefused', 'loginFailed', 'passwordChangeFailed'])

/**
 * Emits events to hooks and `diagnostics_channel` (`fastify-token-auth:<name>`), detached from the request.
 * Each hook has its own limit: a flood of refusals does not affect other hooks.
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
    // Counted when the call starts: a hook that returns at once drops nothing, however many events a turn has.
    if (hook !== undefined) setImmediate(hook.call, event)
    channel(`fastify-token-auth:${name}`).publish(event)
  }
}
