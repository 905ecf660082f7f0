/**
 * A foreign error for the log: its message, unless that quotes one of the secrets, and where it was thrown, without its fields
 * and its cause.
 */
export function withoutSecrets (error: unknown, ...secrets: string[]): Error {
  const { name, message, stack = '' } = error instanceof Error ? error : new Error(String(error))
  const isSafe = (text: string) => !secrets.some((secret) => quotes(text, secret))
  const places = stack.split('\n').filter((line) => /^ {4}at /.test(line) && isSafe(line)).join('\n')
  const text = isSafe(message) ? message : `${isSafe(name) ? name : 'An error'}, whose message is not shown as it has a secret in it`
  return Object.assign(new Error(text), { stack: `${text}\n${places}` })
}

function quotes (text: string, secret: string): boolean {
  // encodeURIComponent throws where a surrogate is alone.
  const wellFormed = Buffer.from(secret).toString()
  const escaped = JSON.stringify(secret).slice(1, -1)
  return secret !== '' && [secret, escaped, encodeURIComponent(wellFormed)].some((form) => text.includes(form))
}
