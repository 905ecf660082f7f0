import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** The size of reachable objects in MB. Collects twice, because objects with finalizers are collected the second time. */
export async function usedHeap (): Promise<number> {
  for (let i = 0; i < 2; i++) {
    collect()
    await new Promise(setImmediate)
  }
  return process.memoryUsage().heapUsed / 2 ** 20
}
