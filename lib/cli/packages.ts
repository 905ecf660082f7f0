import { createRequire } from 'node:module'
import { COMMAND_FAILED } from '../errors.js'

/** The version of this package. */
export const { version } = createRequire(import.meta.url)('fastify-token-auth/package.json') as { version: string }

/** Imports an optional peer dependency, or one that the host may not have installed. @throws `FST_TOKEN_AUTH_COMMAND_FAILED` */
export async function importPeer<Module> (name: string, instead = ''): Promise<Module> {
  try {
    return await import(name) as Module
  } catch (error) {
    if (!String(error).includes(`Cannot find package '${name}'`)) throw error
    throw new COMMAND_FAILED(`The package ${name} is not installed. ${instead}Run: npm install ${name}`)
  }
}
