const USAGE = 'FST_TOKEN_AUTH_INVALID_OPTION'

const LISTENING: Record<string, string> = {
  EADDRINUSE: 'the port is in use; choose another one with PORT or --port',
  EACCES: 'permission denied; choose a port of at least 1024 with PORT or --port',
  EADDRNOTAVAIL: 'this machine has no such address; choose another one with HOST or --host'
}

interface Failure extends Error {
  code?: string
  syscall?: string
  address?: string
  port?: number
}

/** One line to print, and the exit code: 2 for wrong usage, 1 for a failure. */
export function explainFailure (error: unknown): { line: string, code: number } {
  const failure = error as Failure
  return { line: toLine(failure), code: failure.code === USAGE ? 2 : 1 }
}

function toLine ({ code = '', syscall, address, port, message, cause }: Failure): string {
  if (syscall === 'listen') return `cannot listen on ${address}${port === undefined ? '' : ` port ${port}`}: ${LISTENING[code] ?? code}`
  return cause === undefined || message.includes(reasonOf(cause)) ? message : `${message} (${reasonOf(cause)})`
}

/** The reason in a driver's error. If a host name has several addresses, the error has only a code. */
export function reasonOf (error: unknown): string {
  const { message, code } = error as Failure
  return message === '' ? String(code) : message
}
