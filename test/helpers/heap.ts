import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** MB of objects that are still in use. Twice with a turn between: what has a finalizer is collected the second time. */
export async function usedHeap (): Promise<number> {
  for (let i = 0; i < 2; i++) {
    collect()
    await new Promise(setImmediate)
  }
  return process.memoryUsage().heapUsed / 2 ** 20
}
