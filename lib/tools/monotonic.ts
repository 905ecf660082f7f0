/** Milliseconds of a clock that nobody sets. For durations, and for times that are compared within the process. */
export const monotonicNow = (): number => performance.now()
