/** A client's error without keys and values: those of ioredis carry the whole command, and a message may quote it. */
export function redactCommand (error: Error): Error {
  const isReply = error.name === 'ReplyError'
  const text = isReply ? `Redis answered ${/^[A-Z]+/.exec(error.message)?.[0] ?? 'an error'}` : error.message
  return Object.assign(new Error(text), { name: 'CacheError' })
}
