import { readArguments, readFile } from '../common.mjs'

const SIZES = '10000,100000,1000000'

const USAGE = `Usage: npm run bench:scale -- [options]
  --sizes <numbers>  numbers of sessions, separated by commas, each from 1000 to 10000000: ${SIZES} by default
  --json <file>      also writes the figures into this file
Only a run without --sizes writes docs/performance.md.`

export function readOptions (args) {
  return readArguments({ args, names: ['sizes', 'json'], usage: USAGE }, ({ sizes, json }) => ({
    sizes: (sizes ?? SIZES).split(',').map(readSize),
    json: readFile(json),
    writesDocs: sizes === undefined
  }))
}

function readSize (text) {
  const size = Number(text)
  if (Number.isInteger(size) && size >= 1000 && size <= 10_000_000) return size
  throw new Error(`--sizes must be whole numbers from 1000 to 10000000, got "${text}"`)
}
