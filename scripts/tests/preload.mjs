// Loaded before what tap preloads in each process. What was compiled before the tests needs no module hooks, and no test mocks a module:
// tap's hooks would start a thread in each process, and ask it about each module.
import module, { syncBuiltinESMExports } from 'node:module'
import { setFlagsFromString } from 'node:v8'
import threads from 'node:worker_threads'

const { Worker } = threads

module.register = () => {}
if ('registerHooks' in module) module.registerHooks = () => ({ deregister () {} })
/** A thread with nothing preloaded: what tap preloads takes much longer than the hash that the thread computes. */
threads.Worker = class extends Worker {
  constructor (file, options) {
    super(file, { ...options, execArgv: options?.execArgv ?? [] })
  }
}
syncBuiltinESMExports()

// WebAssembly is compiled once, not twice: the optimizing compiler takes seconds for an embedded PostgreSQL that answers few queries.
setFlagsFromString('--liftoff-only')

// tap names a test, and its fixtures, after this argument.
if (process.argv[1]?.endsWith('/scripts/tests/run.mjs')) process.argv.splice(1, 1)
