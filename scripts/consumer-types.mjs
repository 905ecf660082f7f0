#!/usr/bin/env node
// Compiles test/types/consumers against the built package, as applications with different settings of TypeScript do.
import { mkdirSync, readdirSync, rmSync, symlinkSync, cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SOURCES = join(ROOT, 'test/types/consumers')
const PROJECT = join(ROOT, '.build/consumers')
const { ModuleKind, ModuleResolutionKind } = ts
const RESOLUTIONS = {
  nodenext: { module: ModuleKind.NodeNext, moduleResolution: ModuleResolutionKind.NodeNext },
  node16: { module: ModuleKind.Node16, moduleResolution: ModuleResolutionKind.Node16 },
  bundler: { module: ModuleKind.ESNext, moduleResolution: ModuleResolutionKind.Bundler },
  // Reads no "exports", and @fastify/jwt has no types for it without esModuleInterop.
  node10: { module: ModuleKind.ESNext, moduleResolution: ModuleResolutionKind.Node10, esModuleInterop: true }
}
const STRICT = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true, target: ts.ScriptTarget.ES2022, lib: ['lib.es2023.d.ts'], types: ['node'] }

// The package is found by its name, in a project of its own.
rmSync(PROJECT, { recursive: true, force: true })
mkdirSync(join(PROJECT, 'node_modules'), { recursive: true })
symlinkSync(ROOT, join(PROJECT, 'node_modules/fastify-token-auth'))
cpSync(SOURCES, PROJECT, { recursive: true })

let faults = 0
for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
  for (const file of readdirSync(SOURCES)) {
    if (file.endsWith('.cts') && name === 'bundler') continue
    const format = file.endsWith('.cts') && name === 'node10' ? { module: ModuleKind.CommonJS } : {}
    const program = ts.createProgram([join(PROJECT, file)], { ...STRICT, ...resolution, ...format })
    for (const { file: source, messageText } of ts.getPreEmitDiagnostics(program)) {
      faults++
      console.error(`${name}, ${file}: ${source?.fileName.replace(ROOT, '') ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`)
    }
  }
}
console.log(`${Object.keys(RESOLUTIONS).length} module resolutions, ${faults} errors`)
process.exit(faults === 0 ? 0 : 1)
