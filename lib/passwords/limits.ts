import { INVALID_OPTION } from '../errors.js'

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION` that names the option */
export function checkInteger (name: string, value: unknown, { min, max }: { min: number, max: number }): void {
  if (Number.isInteger(value) && isWithin(value as number, { min, max })) return
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : typeof value === 'object' ? typeof value : String(value)
  throw new INVALID_OPTION(`${name} must be an integer from ${min} to ${max}, got ${shown}`)
}

/** A misspelt option would leave a default in force that nobody has chosen. @throws `FST_TOKEN_AUTH_INVALID_OPTION` */
export function refuseUnknown (factory: string, options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown !== undefined) throw new INVALID_OPTION(`Unknown option "${unknown}" of ${factory}(); there are: ${known.join(', ')}`)
}

export function isWithin (value: number, { min, max }: { min: number, max: number }): boolean {
  return value >= min && value <= max
}
