/** Tells whoever runs the tests: tap's shorter reporters leave comments out. */
export function say (text: string): void {
  process.stderr.write(`${text}\n`)
}
