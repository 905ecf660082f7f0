/** Adds when to come back, in seconds: the answer's Retry-After. */
export function withRetryAfter<Failure extends Error> (error: Failure, seconds: number): Failure {
  return Object.assign(error, { retryAfterSeconds: seconds })
}
