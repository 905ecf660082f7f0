import { readArguments, readFile } from '../common.mjs'
import { NAMES } from './contestants.mjs'

const DEFAULTS = { rounds: 5, seconds: 2 }

const USAGE = `Usage: npm run bench -- [options]
  --rounds <number>   rounds, 1 to 100: ${DEFAULTS.rounds} by default
  --seconds <number>  seconds of a sample, 0.2 to 60: ${DEFAULTS.seconds} by default
  --only <names>      contestants, separated by commas, of: ${NAMES.slice(1).join(', ')}
  --json <file>       also writes every sample into this file
Only a run with none of the first three writes docs/performance.md and docs/performance.svg.`

export function readOptions (args) {
  return readArguments({ args, names: ['rounds', 'seconds', 'only', 'json'], usage: USAGE }, read)
}

function read (values) {
  return {
    rounds: readNumber('rounds', values, { min: 1, max: 100, isWhole: true }),
    seconds: readNumber('seconds', values, { min: 0.2, max: 60 }),
    names: readNames(values.only),
    json: readFile(values.json),
    writesDocs: ['rounds', 'seconds', 'only'].every((name) => values[name] === undefined)
  }
}

function readNumber (name, { [name]: text = DEFAULTS[name] }, { min, max, isWhole = false }) {
  const value = text === '' ? NaN : Number(text)
  if (value >= min && value <= max && (!isWhole || Number.isInteger(value))) return value
  throw new Error(`--${name} must be ${isWhole ? 'a whole number' : 'a number'} from ${min} to ${max}, got "${text}"`)
}

// The bare route is always measured, so it is not named.
function readNames (text) {
  if (text === undefined) return NAMES.slice(1)
  const names = text.split(',')
  const unknown = names.find((name) => !NAMES.slice(1).includes(name))
  if (unknown !== undefined) throw new Error(`--only must be names of contestants, got "${unknown}"`)
  return NAMES.slice(1).filter((name) => names.includes(name))
}
