import type { FastifyReply } from 'fastify'

export type Done = (error?: Error) => void

const answered = new WeakSet<FastifyReply>()

/**
 * Calls back with what the work returns or throws. It runs in a callback of Redis or the database, where nothing catches:
 * an escaping error would end the process. So would an error in the callback; it becomes the answer of the request.
 */
export function contained (reply: FastifyReply, work: () => Error | undefined, done: Done): void {
  finish(reply, attempt(work), done)
}

/** Calls back, and contains what the callback throws. */
export function finish (reply: FastifyReply, error: Error | undefined, done: Done): void {
  try {
    done(error)
  } catch (thrown) {
    answer(reply, thrown as Error)
  }
}

function attempt (work: () => Error | undefined): Error | undefined {
  try {
    return work()
  } catch (error) {
    return error as Error
  }
}

// Once: sending the answer may lead here again, through a hook that Fastify calls while it sends.
function answer (reply: FastifyReply, error: Error): void {
  reply.log.error({ err: error }, 'a callback of authenticate threw an error')
  if (reply.sent) return
  try {
    if (answered.has(reply)) throw error
    answered.add(reply)
    reply.send(error)
  } catch {
    reply.raw.destroy()
  }
}
