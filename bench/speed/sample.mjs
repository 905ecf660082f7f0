import { median, percentile } from '../common.mjs'
import { load } from './load.mjs'
import { busySecondsOf, cpuOf } from './machine.mjs'

const PER = 10_000

/** Returns a function that measures a server once. `cores`: see `splitCores`. */
export function createSampler ({ services, cores, connections, warmMs, measureMs }) {
  async function readUse (pid) {
    const { redis, postgres } = await services.cpu()
    const busy = cores && { server: busySecondsOf(cores.server), others: busySecondsOf(cores.others) }
    return { server: cpuOf(pid), own: cpuOf(process.pid), redis, postgres, busy }
  }

  return async function sample ({ pid, port, next, forget }) {
    await forget()
    const around = () => readUse(pid)
    const { completed, refused, refusal, times, seconds, before, after } = await load({ port, connections, next, warmMs, measureMs, around })
    const used = (name) => after[name] === null ? null : after[name] - before[name]
    const per = (name) => used(name) === null ? null : used(name) / completed * PER
    return {
      refused,
      refusal,
      rps: completed / seconds,
      p50Ms: median(times),
      p99Ms: percentile(times, 0.99),
      serverS: per('server'),
      redisS: per('redis'),
      postgresS: per('postgres'),
      busy: used('server') === null ? null : Math.min(1, used('server') / seconds),
      foreign: cores && foreignShare({ before, after, seconds })
    }
  }
}

/** How much of the cores others have used, as a share of the time of one core. */
function foreignShare ({ before, after, seconds }) {
  const known = ['server', 'own', 'redis', 'postgres'].reduce((sum, name) => sum + after[name] - before[name], 0)
  const busy = ['server', 'others'].reduce((sum, name) => sum + after.busy[name] - before.busy[name], 0)
  return Math.max(0, (busy - known) / seconds)
}
