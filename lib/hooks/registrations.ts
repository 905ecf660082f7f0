import type { FastifyInstance, FastifyRequest } from 'fastify'
import { NOT_REGISTERED } from '../errors.js'
import type { Authenticate } from '../../types/fastify.js'

/** What the functions that a host imports find of the plugin at run time. */
export interface Registration {
  authenticate: Authenticate
  /** The name of the request decorator with the user. */
  user: string
}

// Shared by all copies of the package in a process. Encapsulated scopes inherit it.
const REGISTRATIONS = Symbol.for('fastify-token-auth.registrations')

type Scope = FastifyInstance & { [REGISTRATIONS]?: readonly Registration[] }

export function addRegistration (fastify: FastifyInstance, registration: Registration): void {
  const scope = fastify as Scope
  scope[REGISTRATIONS] = [...scope[REGISTRATIONS] ?? [], registration]
}

/** @throws `FST_TOKEN_AUTH_NOT_REGISTERED` if the plugin is not registered in the scope of the request's route */
export function registrationsOf (request: FastifyRequest): readonly Registration[] {
  const registrations = (request.server as Scope)[REGISTRATIONS]
  if (registrations === undefined) throw new NOT_REGISTERED('fastify-token-auth is not registered in the scope of this route')
  return registrations
}
