const INTERVAL_MS = 1000

/**
 * Calls the listener when the parent of this process has ended. npm and npx start a command in a shell, and a signal to npm ends only that
 * shell. Returns a function that stops the watch.
 */
export function whenOrphaned (listener: () => void): () => void {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    listener()
  }, INTERVAL_MS).unref()
  return () => clearInterval(timer)
}
