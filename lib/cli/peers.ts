import { COMMAND_FAILED } from '../errors.js'

/** What the commands need and the plugin doesn't: peers of the package, which a host may have left out. */
export async function importPeer<Module> (name: string, instead = ''): Promise<Module> {
  try {
    return await import(name) as Module
  } catch (error) {
    if (!String(error).includes(`Cannot find package '${name}'`)) throw error
    throw new COMMAND_FAILED(`The package ${name} is not installed. ${instead}Run: npm install ${name}`)
  }
}
