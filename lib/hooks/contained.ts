import type { FastifyReply } from 'fastify'

export type Done = (error?: Error) => void

const answered = new WeakSet<FastifyReply>()

/**
 * Calls back with what the work returns or throws. It runs in a callback of Redis or the database, where nobody catches:
 * an error that left it would end the process. So would an error of the callback; it becomes the request's answer.
 */
export function contained (reply: FastifyReply, work: () => Error | undefined, done: Done): void {
  const error = attempt(work)
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

// Once: the answer itself may come here again, by a hook that Fastify calls as it sends.
function answer (reply: FastifyReply, error: Error): void {
  reply.log.error({ err: error }, 'what authenticate called back threw an error')
  if (reply.sent) return
  try {
    if (answered.has(reply)) throw error
    answered.add(reply)
    reply.send(error)
  } catch {
    reply.raw.destroy()
  }
}
