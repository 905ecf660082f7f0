import { channel } from 'node:diagnostics_channel'
import type { AuthEventName, AuthEvents, AuthHooks } from '../../types/events.js'
import type { Logger } from '../../types/ports.js'

export type Emit = <Name extends AuthEventName>(name: Name, event: AuthEvents[Name]) => void

/** Calls of hooks that have not returned: with more, events are dropped. A hook that hangs may not fill the memory. */
const MOST_CALLS = 1000

/** Tells hooks and `diagnostics_channel` (`fastify-token-auth:<name>`) what happened, detached from the request. */
export function createEvents (hooks: AuthHooks, logger: Logger): Emit {
  let calls = 0
  let isTold = false

  async function call (hook: (event: unknown) => unknown, event: object, name: string): Promise<void> {
    try {
      await hook(event)
    } catch (error) {
      report(error, name)
    } finally {
      calls--
      isTold = false
    }
  }

  // Whoever is called to log a foreign error may fail at it, too: its message may be a getter that throws.
  function report (error: unknown, event: string): void {
    try {
      logger.error({ err: error, event }, 'an event hook failed')
    } catch {
      logger.error({ event }, 'an event hook failed, with an error that cannot be logged')
    }
  }

  function drop (name: string): void {
    if (!isTold) logger.error({ event: name }, `events are dropped: ${MOST_CALLS} calls of hooks have not returned`)
    isTold = true
  }

  return (name, event) => {
    const hook = hooks[`on${name[0]!.toUpperCase()}${name.slice(1)}` as keyof AuthHooks] as ((event: unknown) => unknown) | undefined
    if (hook !== undefined && calls < MOST_CALLS) {
      calls++
      setImmediate(call, hook, event, name)
    } else if (hook !== undefined) {
      drop(name)
    }
    channel(`fastify-token-auth:${name}`).publish(event)
  }
}
