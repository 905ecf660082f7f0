import type { Heartbeat } from '../../lib/cache/heartbeat.js'

/** For a cache that can lose no writes. */
export const NO_HEARTBEAT: Heartbeat = { begin: async () => {}, beat: async () => {}, close () {} }
