import type { RouteOptions } from 'fastify'
import { INVALID_OPTION } from '../errors.js'

/** Hooks of a route that run too late to protect it, or that are called with other arguments. */
const NO_GUARDS = ['preParsing', 'preSerialization', 'onSend', 'onResponse', 'onError', 'onTimeout', 'onRequestAbort'] as const
const GUARDS = 'authenticate protects a route as onRequest, preValidation or preHandler'

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION` for a route that has one of our guards in another hook */
export function refuseMisplaced (route: RouteOptions, isGuard: (hook: unknown) => boolean): void {
  for (const name of NO_GUARDS) {
    const hooks = [route[name]].flat() as unknown[]
    if (hooks.some(isGuard)) throw new INVALID_OPTION(`${GUARDS}, not as ${name} (${[route.method].flat().join(', ')} ${route.url})`)
  }
}

/** Whether Fastify calls the hook as a guard: with a reply that is not sent yet, and without a payload. */
export function isGuardCall ({ length, 1: reply }: ArrayLike<any>): boolean {
  return length <= 3 && typeof reply?.header === 'function' && reply.raw?.writableEnded !== true
}

/**
 * Answers any other call, such as that of `addHook('onSend', app.authenticate)`: passes the error to the callback, the last argument.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION` if the last argument is not a callback
 */
export function refuseCall (args: ArrayLike<unknown>): void {
  const error = new INVALID_OPTION(`${GUARDS}, and not in any other hook`)
  const callback = args[args.length - 1]
  if (typeof callback !== 'function') throw error
  callback(error)
}
