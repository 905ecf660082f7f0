/**
 * A copy of an error that is safe to log: its message, unless that quotes one of the secrets, and its stack trace, without its fields
 * and its cause.
 */
export function redactSecrets (error: unknown, ...secrets: string[]): Error {
  const { name, message, stack = '' } = error instanceof Error ? error : new Error(String(error))
  const isSafe = (text: string) => !secrets.some((secret) => quotes(text, secret))
  const places = stack.split('\n').filter((line) => /^ {4}at /.test(line) && isSafe(line)).join('\n')
  const text = isSafe(message) ? message : `${isSafe(name) ? name : 'An error'}, whose message is not shown as it has a secret in it`
  return Object.assign(new Error(text), { stack: `${text}\n${places}` })
}

// Ignores case, because hex digits and percent encodings have two cases.
function quotes (text: string, secret: string): boolean {
  const bytes = Buffer.from(secret)
  // encodeURIComponent throws for a lone surrogate.
  const forms = [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(bytes.toString()), bytes.toString('hex'), bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url'), [...bytes].join(',')]
  const searched = text.toLowerCase().replaceAll(' ', '')
  return secret !== '' && forms.some((form) => searched.includes(form.toLowerCase().replaceAll(' ', '')))
}
