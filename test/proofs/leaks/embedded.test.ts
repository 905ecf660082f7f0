import { PGlite } from '@electric-sql/pglite'
import t from 'tap'
import { createPGlitePool } from '../../../lib/index.js'
import { leavesNothing } from './leaving.js'
import { createDatabase } from '../../helpers/services.js'

t.test('a server on an embedded database leaves nothing open after close()', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  await leavesNothing(t, database.url, { redis: undefined as never, database: createPGlitePool(await PGlite.create()) })
})
