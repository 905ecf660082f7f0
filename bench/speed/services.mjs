// The Redis and the PostgreSQL of the run: their versions, their processes, their CPU time.
import { Redis } from 'ioredis'
import pg from 'pg'
import { cpuOfFamily, familyOf, isLocal, parentOf, pin } from './machine.mjs'

export async function openServices () {
  const redis = new Redis(process.env.REDIS_URL)
  const server = await redis.info('server')
  const redisPid = Number(fieldOf(server, 'process_id'))
  const postgres = await describePostgres()

  return {
    versions: { redis: fieldOf(server, 'redis_version'), postgres: postgres.version },
    pin (cores) {
      if (isLocal(redisPid, /redis|valkey/)) pin(redisPid, cores)
      if (postgres.pid !== null) familyOf(postgres.pid).forEach((pid) => pinIfThere(pid, cores))
    },
    /** CPU seconds of each since its start; `null` for a PostgreSQL on another machine. */
    async cpu () {
      const used = await redis.info('cpu')
      return {
        redis: Number(fieldOf(used, 'used_cpu_user')) + Number(fieldOf(used, 'used_cpu_sys')),
        postgres: postgres.pid === null ? null : cpuOfFamily(postgres.pid)
      }
    },
    close: () => redis.disconnect()
  }
}

/** `pid`: the process that has started all others. */
async function describePostgres () {
  const client = new pg.Client(process.env.DATABASE_URL)
  await client.connect()
  const { rows: [{ pid, version }] } = await client.query("select pg_backend_pid() pid, split_part(current_setting('server_version'), ' ', 1) as version")
  const parent = isLocal(pid, /postgres/) ? parentOf(pid) : null
  await client.end()
  return { pid: parent, version }
}

function pinIfThere (pid, cores) {
  try {
    pin(pid, cores)
  } catch {
    // A process of PostgreSQL has ended meanwhile.
  }
}

function fieldOf (info, name) {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)[1]
}
