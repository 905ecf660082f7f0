import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { test } from 'tap'
import type { Test } from 'tap'
import { freePort } from '../helpers/ports.js'
import { freshDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'

/**
 * Runs the README and the guides as a reader would. After the language, the first line of a code block states its use:
 * a file name saves it, `run` runs it in a shell, `server` starts it and waits for its port, and `output` is what the
 * previous block must print, with `...` for any text. `partial` needs a package that is not installed here.
 */
const BLOCK = /^```(\w+) (\S+)\n(.*?)^```$/gms
const CLI = resolve('dist/lib/cli/main.js')
const GUIDES = ['README.md', ...readdirSync('docs').map((name) => `docs/${name}`)]

if (!existsSync(CLI)) {
  const { status, stdout } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc'], { encoding: 'utf8' })
  t.equal(status, 0, `the package can be built: ${stdout}`)
}

interface Shell { directory: string, port: number, env: NodeJS.ProcessEnv }

function start ({ directory, env }: Shell, script: string) {
  const child = spawn('sh', ['-e', '-c', script], { cwd: directory, env, detached: true })
  const written = { out: '', err: '' }
  child.stdout.on('data', (chunk) => { written.out += chunk })
  child.stderr.on('data', (chunk) => { written.err += chunk })
  const closed = once(child, 'close').then(([code]) => code as number | null)
  // Signals the shell and its child processes.
  const kill = (signal: NodeJS.Signals) => {
    try {
      process.kill(-child.pid!, signal)
    } catch {}
  }
  return { child, written, closed, kill }
}

async function untilListening (port: number, { closed, written }: ReturnType<typeof start>): Promise<void> {
  let hasEnded = false
  closed.then(() => { hasEnded = true }, () => {})
  while (!await fetch(`http://localhost:${port}/`).then(() => true, () => false)) {
    if (hasEnded) throw new Error(`the server ended: ${written.out}${written.err}`)
    await pause(50)
  }
}

function pattern (text: string): RegExp {
  return new RegExp(`^${text.trim().split('...').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('[^]*')}$`)
}

/** Resolves to the number of blocks. */
async function follow (t: Test, file: string): Promise<number> {
  const port = await freePort()
  const adapt = (text: string) => text
    .replaceAll('3000', String(port))
    .replaceAll('npx fastify-token-auth', `'${process.execPath}' '${CLI}'`)
    .replaceAll('psql "$DATABASE_URL" -q -f', `'${process.execPath}' '${resolve('test/helpers/run-sql.mjs')}'`)
  const { NODE_ENV, ...inherited } = process.env
  const shell = { directory: t.testdir({}), port, env: { ...inherited, DATABASE_URL: await freshDatabase(t), REDIS_URL: redisUrl(), CACHE_NAMESPACE: uniqueNamespace(), PORT: String(port) } }
  let server: ReturnType<typeof start> | null = null
  let printed = ''
  let count = 0
  const stop = async () => {
    server?.kill('SIGTERM')
    await server?.closed
    server = null
  }
  try {
    for (const [, , use, text] of readFileSync(file, 'utf8').matchAll(BLOCK)) {
      count++
      if (use === 'partial') continue
      if (use === 'output') {
        t.match(printed.trim(), pattern(adapt(text!)), `${file}: output of block ${count}`)
      } else if (use === 'run') {
        const { written, closed } = start(shell, adapt(text!))
        const code = await closed
        printed = written.out
        if (code !== 0) throw new Error(`block ${count} of ${file}: ${written.out}${written.err}`)
      } else if (use === 'server') {
        await stop()
        server = start(shell, adapt(text!))
        await untilListening(port, server)
      } else {
        writeFileSync(join(shell.directory, use!), adapt(text!))
      }
    }
  } finally {
    await stop()
  }
  return count
}

const blocksOf = (file: string) => [...readFileSync(file, 'utf8').matchAll(BLOCK)]

for (const file of GUIDES.filter((name) => blocksOf(name).length > 0)) {
  test(`${file} can be followed`, async (t) => {
    // On a machine so slow that the first hash exceeds the maximum wait, the guide is retried.
    for (let attempt = 1; ; attempt++) {
      try {
        t.equal(await follow(t, file), blocksOf(file).length)
        return
      } catch (error) {
        if (attempt === 3 || !/OVERLOADED|UNAVAILABLE/.test((error as Error).message)) throw error
      }
    }
  })
}

test('every file that a guide shows is used in it', async (t) => {
  for (const file of GUIDES) {
    const blocks = blocksOf(file)
    const text = blocks.map(([, , , block]) => block).join('\n')
    for (const [, language, use] of blocks) if (language === 'js' && use !== 'partial') t.match(text, use!, `${file}: ${use}`)
    t.notMatch(readFileSync(file, 'utf8'), /^```js$/m, `${file}: a block of JavaScript has a file name`)
  }
})
