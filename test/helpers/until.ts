/** Long enough for any machine: if the condition does not hold by then, something is broken. */
const PATIENCE_MS = 300_000

/** Polls until the condition holds. */
export async function until (condition: () => unknown, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS
  while (!await condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
