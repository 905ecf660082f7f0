interface ReplyError extends Error { command?: { name?: string } }

/**
 * What Redis has refused and why: the first word of its reply, such as WRONGPASS, NOPERM or OOM, and the command. The rest of the reply may
 * quote values, and so do the arguments of the command.
 */
export function replyWord ({ message, command }: ReplyError): string {
  const word = /^[A-Z]+/.exec(message)?.[0] ?? 'an error'
  return command?.name === undefined ? word : `${word} to ${command.name.toUpperCase()}`
}

/** A client's error without keys and values: those of ioredis carry the whole command, and a message may quote it. */
export function redactCommand (error: Error): Error {
  const isReply = error.name === 'ReplyError'
  const text = isReply ? `Redis answered ${replyWord(error)}` : error.message
  return Object.assign(new Error(text), { name: 'CacheError' })
}
