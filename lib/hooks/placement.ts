import type { RouteOptions } from 'fastify'
import { INVALID_OPTION } from '../errors.js'

/** Hooks of a route that run too late to protect it, or that are called with other arguments. */
const NO_GUARDS = ['preParsing', 'preSerialization', 'onSend', 'onResponse', 'onError', 'onTimeout', 'onRequestAbort'] as const
const PLACES = ['onRequest', 'preValidation', 'preHandler'] as const
const GUARDS = 'authenticate protects a route as onRequest, preValidation or preHandler'

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION` for a route that has one of our guards in another hook */
export function refuseMisplaced (route: RouteOptions, isGuard: (hook: unknown) => boolean): void {
  const name = NO_GUARDS.find((name) => hooksOf(route, name).some(isGuard))
  if (name !== undefined) throw new INVALID_OPTION(`${GUARDS}, not as ${name} (${nameOf(route)})`)
}

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION` for a route that has the method `authenticate.with` as a hook: nobody has called it */
export function refuseUncalled (route: RouteOptions, isUncalled: (hook: unknown) => boolean): void {
  const name = [...PLACES, ...NO_GUARDS].find((name) => hooksOf(route, name).some(isUncalled))
  if (name !== undefined) throw new INVALID_OPTION(`authenticate.with must be called, as in authenticate.with({ fresh: true }), got the method itself as ${name} (${nameOf(route)})`)
}

function hooksOf (route: RouteOptions, name: keyof RouteOptions): unknown[] {
  return [route[name]].flat()
}

function nameOf ({ method, url }: RouteOptions): string {
  return `${[method].flat().join(', ')} ${url}`
}

/** Whether Fastify calls the hook as a guard: without a payload, and with a reply that is not sent yet. */
export function isGuardCall (count: number, reply: any): boolean {
  return count <= 3 && typeof reply?.header === 'function' && reply.raw?.writableEnded !== true
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
