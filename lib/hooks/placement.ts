import type { RouteOptions } from 'fastify'
import { INVALID_OPTION } from '../errors.js'

/** The hooks of a route that come too late to guard it, or call with other arguments. */
const NO_GUARDS = ['preParsing', 'preSerialization', 'onSend', 'onResponse', 'onError', 'onTimeout', 'onRequestAbort'] as const
const GUARDS = 'authenticate guards a route as onRequest, preValidation or preHandler'

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION` for a route that has one of our guards in another hook */
export function refuseMisplaced (route: RouteOptions, isGuard: (hook: unknown) => boolean): void {
  for (const name of NO_GUARDS) {
    const hooks = [route[name]].flat() as unknown[]
    if (hooks.some(isGuard)) throw new INVALID_OPTION(`${GUARDS}, not as ${name} (${[route.method].flat().join(', ')} ${route.url})`)
  }
}

/** Whether Fastify calls a guard as such: with a reply that is still to be sent, and no payload. */
export function isGuardCall ({ length, 1: reply }: ArrayLike<any>): boolean {
  return length <= 3 && typeof reply?.header === 'function' && reply.raw?.writableEnded !== true
}

/**
 * Answers any other call, as of `addHook('onSend', app.authenticate)`: what came last is how Fastify is told.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION` where that is no callback
 */
export function refuseCall (args: ArrayLike<unknown>): void {
  const error = new INVALID_OPTION(`${GUARDS}, in no other hook`)
  const callback = args[args.length - 1]
  if (typeof callback !== 'function') throw error
  callback(error)
}
