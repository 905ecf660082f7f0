// Compiles lib/, types/ and test/ into .build/tests, once before the tests: in each of their processes it would take longer than most tests.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'

const COMPILED = '.build/tests'
const KEPT = join(COMPILED, 'digests.json')
const SETTINGS = { target: 'ES2022', module: 'ESNext', verbatimModuleSyntax: true, sourceMap: true }
const LAST_LINE = /\/\/# sourceMappingURL=.*\s*$/

const require = createRequire(import.meta.url)
/** Packages of hundreds of modules that also exist as CommonJS, which loads in less time. */
const LARGE = new Map(['kysely', '@sinclair/typebox'].map((name) => [name, pathToFileURL(require.resolve(name)).href]))
const IMPORTED = /(?<=^(?:import|\}) .*from |import\()'([^'.]+)'/gm

/** Compiles each file that has changed since the last time, and removes what has no source any more. */
export async function compile () {
  const settings = JSON.stringify([SETTINGS, ...LARGE, require('typescript/package.json').version, readFileSync(new URL(import.meta.url), 'utf8')])
  const before = existsSync(KEPT) ? JSON.parse(readFileSync(KEPT, 'utf8')) : {}
  const now = {}
  for (const file of sources()) {
    const source = readFileSync(file, 'utf8')
    now[file] = createHash('sha256').update(settings).update(source).digest('hex')
    if (now[file] !== before[file] || !existsSync(placeOf(file))) write(placeOf(file), await strip(file, source))
  }
  for (const file of Object.keys(before)) if (!(file in now)) rmSync(placeOf(file), { force: true })
  write(KEPT, JSON.stringify(now))
}

/** Where the JavaScript of a source is. */
export function placeOf (file) {
  return join(COMPILED, file.replace(/\.ts$/, '.js'))
}

function sources () {
  const files = ['lib', 'types', 'test'].flatMap((folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name)))
  return files.filter((file) => file.endsWith('.ts'))
}

// Others may run tests at the same time: they may not see half of a file.
function write (file, text) {
  const part = `${file}.${process.pid}`
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(part, text)
  renameSync(part, file)
}

async function strip (file, source) {
  const { default: ts } = await import('typescript')
  const { options } = ts.convertCompilerOptionsFromJson(SETTINGS, '.')
  const { outputText, sourceMapText } = ts.transpileModule(source, { fileName: file, compilerOptions: options })
  const map = { ...JSON.parse(sourceMapText), sources: [relative(dirname(placeOf(file)), file)] }
  const code = outputText.replace(LAST_LINE, '').replace(IMPORTED, (_, name) => `'${LARGE.get(name) ?? name}'`)
  return `${code}//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}\n`
}
