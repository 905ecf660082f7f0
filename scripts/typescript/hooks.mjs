// Module hooks that strip types, and keep the outcome in .build/typescript under a digest of the source.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CACHE = join(ROOT, '.build/typescript')
const { version } = JSON.parse(readFileSync(join(ROOT, 'node_modules/typescript/package.json'), 'utf8'))
const SETTINGS = { target: 'ES2022', module: 'ESNext', verbatimModuleSyntax: true, inlineSourceMap: true }

const JS = /\.js(?=[?#]|$)/
const MOCKING = /\/@tapjs\/mock\/dist\/esm\/import\.mjs$/
const NOTHING = 'data:text/javascript,'
/** Packages of hundreds of modules that also exist as CommonJS: there their modules do not pass through these hooks one by one. */
const LARGE = /^(kysely|@sinclair\/typebox)(\/|$)/

mkdirSync(CACHE, { recursive: true })
let isThread = false

export function initialize ({ isMainThread }) {
  isThread = !isMainThread
}

/** TypeScript names the files that it imports by what they become. A worker thread mocks nothing: what tap loads for that is most of its start. */
export async function resolve (specifier, context, nextResolve) {
  if (isThread && MOCKING.test(specifier)) return { url: NOTHING, format: 'module', shortCircuit: true }
  if (LARGE.test(specifier)) return await nextResolve(specifier, { ...context, conditions: asRequired(context.conditions) })
  return await nextResolve(isSource(specifier, context.parentURL) ? specifier.replace(JS, '.ts') : specifier, context)
}

function asRequired (conditions) {
  return conditions.map((condition) => condition === 'import' ? 'require' : condition)
}

function isSource (specifier, parent) {
  if (!/^(\.{1,2}\/|file:)/.test(specifier) || !JS.test(specifier) || (specifier.startsWith('.') && parent?.includes('/node_modules/'))) return false
  const { href } = new URL(specifier.replace(/[?#].*/, ''), parent)
  return !existsSync(new URL(href)) && existsSync(new URL(href.replace(JS, '.ts')))
}

export async function load (url, context, nextLoad) {
  if (!/^file:[^?#]*\.ts([?#]|$)/.test(url)) return await nextLoad(url, context)
  return { format: 'module', source: await compiled(fileURLToPath(url.replace(/[?#].*/, ''))), shortCircuit: true }
}

async function compiled (file) {
  const source = readFileSync(file, 'utf8')
  const digest = createHash('sha256').update(JSON.stringify([version, SETTINGS, file, source])).digest('hex')
  const kept = join(CACHE, `${digest}.js`)
  if (existsSync(kept)) return readFileSync(kept, 'utf8')
  const text = await compile(file, source)
  // Others compile at the same time: they may not see half of it.
  const part = `${kept}.${process.pid}`
  writeFileSync(part, text)
  renameSync(part, kept)
  return text
}

async function compile (fileName, source) {
  const { default: ts } = await import('typescript')
  const { options } = ts.convertCompilerOptionsFromJson(SETTINGS, ROOT)
  return ts.transpileModule(source, { fileName, compilerOptions: options }).outputText
}
