/** Prints a line to stderr, because tap's shorter reporters omit comments. */
export function say (text: string): void {
  process.stderr.write(`${text}\n`)
}
