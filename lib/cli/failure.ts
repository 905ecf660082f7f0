const USAGE = 'FST_TOKEN_AUTH_INVALID_OPTION'

const LISTENING: Record<string, string> = {
  EADDRINUSE: 'something else listens there; choose another port with PORT or --port',
  EACCES: 'it is not permitted; choose a port from 1024 on with PORT or --port',
  EADDRNOTAVAIL: 'this machine has no such address; choose another with HOST or --host'
}

interface Failure extends Error {
  code?: string
  syscall?: string
  address?: string
  port?: number
}

/** One line for a person, and the exit code: 2 for a command that was called wrongly, 1 for one that failed. */
export function explainFailure (error: unknown): { line: string, code: number } {
  const failure = error as Failure
  return { line: toLine(failure), code: failure.code === USAGE ? 2 : 1 }
}

function toLine ({ code = '', syscall, address, port, message, cause }: Failure): string {
  if (syscall === 'listen') return `cannot listen on ${address}${port === undefined ? '' : ` port ${port}`}: ${LISTENING[code] ?? code}`
  return cause === undefined ? message : `${message} (${reasonOf(cause)})`
}

/** What went wrong, of a driver's error; that of a name with several addresses has a code alone. */
export function reasonOf (error: unknown): string {
  const { message, code } = error as Failure
  return message === '' ? String(code) : message
}
