import t from 'tap'
import { EXPORTS } from '../types/exports.js'

// test/types compares the types with the same list.
t.test('the package exports at run time what its types declare, and nothing else', async (t) => {
  const exported = await import('../../lib/index.js')
  t.same(Object.keys(exported).sort(), [...EXPORTS].sort())
  for (const [name, value] of Object.entries(exported)) t.ok(value, name)
  t.equal(exported.default, exported.authPlugin)
})
