import type { Cluster, Command, Redis } from 'ioredis'
import type { RedisClient } from './client.js'
import { placeOf } from './place.js'

/** Calls back later than it is called, with `null` if there is no such key. */
export type Read = (key: string, done: (error: Error | null, value: string | null) => void) => void

/**
 * GET at a quarter of the CPU time of `client.get`, whose promises, pipelines and timers cost more than the command itself. The GETs of a turn of
 * the event loop are written together, between the client's own commands on its connection: so they are answered in their order, by the same
 * server, and fail with the connection. Without the client's `commandTimeout`: the caller has a timeout of its own.
 */
export function createReader (client: RedisClient): Read {
  if (client.isCluster) return (key, done) => { (client as Cluster).get(key, (error, value) => done(error ?? null, value ?? null)) }
  const single = client as Redis
  const { keyPrefix } = placeOf(single)
  let turn: Command[] = []

  // Not at the end of the callback, because each request arrives in a callback of its own.
  function send (): void {
    const [commands, together] = [turn, joinWrites(single)]
    turn = []
    for (const command of commands) single.sendCommand(command, together)
    together.flush()
  }

  return (key, done) => {
    if (turn.length === 0) setImmediate(send)
    turn.push(commandFor(keyPrefix + key, done))
  }
}

/**
 * What ioredis needs of a command. The functions are closures, because tracers replace and call them without `this`. In the next tick, because
 * the parser of an older ioredis, which a client of the host may have, would lose its place if `done` threw.
 */
function commandFor (key: string, done: Parameters<Read>[1]): Command {
  const command = {
    name: 'get',
    args: [key],
    // Its end is unknown to the tracing of ioredis, which waits for a promise.
    isTraced: true,
    setReplyContext () {},
    setTimeout () {},
    toWritable: () => `*2\r\n$3\r\nget\r\n$${Buffer.byteLength(key)}\r\n${key}\r\n`,
    resolve: (reply: Buffer | null) => process.nextTick(done, null, reply === null ? null : String(reply)),
    reject: (error: Error) => process.nextTick(done, error, null)
  }
  return command as unknown as Command
}

/** Stands for the connection, as a pipeline of ioredis does: joins what is written before `flush`. A command that ioredis sends again is not joined. */
function joinWrites (client: Redis) {
  let text = ''
  let isOver = false
  return {
    isPipeline: true as const,
    destination: { redis: client },
    write (part: string | Buffer) {
      if (isOver) client.stream.write(part)
      else text += String(part)
    },
    flush () {
      isOver = true
      if (text !== '') client.stream.write(text)
    }
  }
}
