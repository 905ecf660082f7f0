// node --import=./scripts/tests/preload.mjs scripts/tests/run.mjs <test file>
import { relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { placeOf } from './compile.mjs'

process.argv[1] = resolve(process.argv[1])
await import(pathToFileURL(resolve(placeOf(relative('', process.argv[1])))))
