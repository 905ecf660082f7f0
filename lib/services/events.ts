import { channel } from 'node:diagnostics_channel'
import type { AuthEventName, AuthEvents, AuthHooks } from '../../types/events.js'
import type { Logger } from '../../types/ports.js'

export type Emit = <Name extends AuthEventName>(name: Name, event: AuthEvents[Name]) => void

/** Tells hooks and `diagnostics_channel` (`fastify-token-auth:<name>`) what happened, detached from the request. */
export function createEvents (hooks: AuthHooks, logger: Logger): Emit {
  return (name, event) => {
    const hook = hooks[`on${name[0]!.toUpperCase()}${name.slice(1)}` as keyof AuthHooks] as ((event: unknown) => unknown) | undefined
    if (hook !== undefined) setImmediate(callDetached, hook, event, name, logger)
    channel(`fastify-token-auth:${name}`).publish(event)
  }
}

async function callDetached (hook: (event: unknown) => unknown, event: object, name: string, logger: Logger): Promise<void> {
  try {
    await hook(event)
  } catch (error) {
    logger.error({ err: error, event: name }, 'an event hook failed')
  }
}
