// node --import=<this file> runs TypeScript. The tests' processes are many: what tap's own plugin brings compiles everything in each of them.
import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'

register('./hooks.mjs', import.meta.url, { data: { isMainThread } })
