import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

t.test('every log message that docs/troubleshooting.md explains is one of lib/', async (t) => {
  const table = readFileSync('docs/troubleshooting.md', 'utf8').split('## Warnings in the log\n')[1]!
  const messages = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, message]) => message!.replace(/[:,]? ?\.\.\.$/, ''))
  t.ok(messages.length >= 7)
  const sources = readdirSync('lib', { recursive: true }).map(String).filter((name) => name.endsWith('.ts')).map((name) => readFileSync(join('lib', name), 'utf8')).join('\n')
  for (const message of messages) t.ok(sources.includes(message), message)
})
