import { duration, integer } from '../options/rules.js'
import { ADMIN_FLAGS, withAdmin } from './admin-app.js'
import { defineCommand } from './command.js'
import { number } from './environment.js'
import { print } from './io.js'

const HOUR_MS = 3_600_000
const readBatchSize = number(integer({ min: 1, max: 100_000 }))
const readRetention = duration({ min: HOUR_MS })

/** `prune`. */
export const prune = defineCommand({
  name: 'prune',
  summary: 'delete the rows of sessions that ended long ago',
  details: ['Deletes in batches and skips locked rows, so it is safe while servers run.'],
  flags: {
    'batch-size': { type: 'string', value: '<rows>', about: 'rows per statement (default 1000)' },
    retention: { type: 'string', value: '<duration>', about: 'how long ago the sessions ended at least, such as 30d (default 7d)' },
    ...ADMIN_FLAGS
  },
  async run (io, values) {
    const batchSize = readBatchSize(values['batch-size'] ?? '1000', '--batch-size')
    const retention = readRetention(values.retention ?? '7d', '--retention')
    const onProgress = ({ deleted }: { deleted: number }) => print(io.stdout, `${deleted} rows deleted`)
    const deleted = await withAdmin(io, values, ({ tokenAuth }) => tokenAuth.pruneExpired({ batchSize, onProgress }), { token: { retention } })
    print(io.stdout, `Done: ${deleted} rows in total`)
    return 0
  }
})
