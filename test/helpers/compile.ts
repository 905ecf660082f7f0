import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FOLDERS = ['lib', 'types', 'test/helpers']
const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true }

/**
 * The sources as JavaScript, for server processes that start often: each start under tap's loader compiles them all again.
 * Resolves to the folder, which is removed when the test ends.
 */
export async function compile (t: Test): Promise<string> {
  // Within the project, so that packages are found.
  await mkdir(join(ROOT, '.build'), { recursive: true })
  const out = await mkdtemp(join(ROOT, '.build', 'servers-'))
  t.teardown(() => rm(out, { recursive: true, force: true }))
  for (const folder of FOLDERS) {
    const names = await readdir(join(ROOT, folder), { recursive: true })
    await Promise.all(names.filter((name) => name.endsWith('.ts')).map((name) => compileFile(join(folder, name), out)))
  }
  return out
}

async function compileFile (name: string, out: string): Promise<void> {
  const source = await readFile(join(ROOT, name), 'utf8')
  const target = join(out, name.replace(/\.ts$/, '.js'))
  await mkdir(dirname(target), { recursive: true })
  await writeFile(target, ts.transpileModule(source, { compilerOptions, fileName: name }).outputText)
}
