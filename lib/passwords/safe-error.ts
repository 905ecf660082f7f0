/**
 * A foreign error for the log: its message, unless that quotes the password, and where it was thrown, without its fields.
 */
export function withoutPassword (error: unknown, password: string): Error {
  const { name, message, stack = '' } = error instanceof Error ? error : new Error(String(error))
  const places = stack.split('\n').filter((line) => /^ {4}at /.test(line)).join('\n')
  const text = quotes(message, password) ? `${name}, whose message is not shown as it has the password in it` : message
  return Object.assign(new Error(text), { stack: `${text}\n${places}` })
}

function quotes (message: string, password: string): boolean {
  const escaped = JSON.stringify(password).slice(1, -1)
  return [password, escaped, encodeURIComponent(password)].some((form) => message.includes(form))
}
