import t from 'tap'
import { isClient, isKysely, isPool } from '../../lib/options/handles.js'
import { boolean, entry, integer, readTable } from '../../lib/options/rules.js'
import type { Place } from '../../lib/options/rules.js'

const TABLE = { count: entry(3, integer({ min: 1, max: 9 })), isOn: entry(undefined, boolean()) }
const code = 'FST_TOKEN_AUTH_INVALID_OPTION'

t.test('fills in the defaults, and neither changes nor returns the given object', async (t) => {
  const given = Object.freeze({ isOn: true, count: undefined })
  t.same(readTable(TABLE, given, { prefix: 'group.' }), { count: 3, isOn: true })
})

t.test('names an option that is wrong, missing or unknown', async (t) => {
  const read = (given: unknown, place: Place) => () => readTable(TABLE, given, place)
  t.throws(read({ isOn: true, count: 0 }, { prefix: 'group.' }), { code, message: 'group.count must be an integer from 1 to 9, got 0' })
  t.throws(read({}, { prefix: 'make: ', owner: 'make()' }), { code, message: 'make: isOn must be true or false, got undefined' })
  t.throws(read({ isOff: true }, { prefix: 'group.' }), { code, message: 'Unknown option "group.isOff"; known options: count, isOn' })
  t.throws(read({ isOff: true }, { prefix: 'make: ', owner: 'make()' }), { code, message: 'Unknown option "isOff" of make(); known options: count, isOn' })
})

t.test('rejects a value that is not an object, and does not show it if there is an example', async (t) => {
  t.throws(() => readTable(TABLE, null, { prefix: '' }), { code, message: 'options must be an object, got null' })
  t.throws(() => readTable(TABLE, [], { prefix: 'group.' }), { code, message: 'group must be an object, got an array' })
  t.throws(() => readTable(TABLE, 'SECRET', { prefix: 'group.', example: 'make({})' }), { code, message: 'group must be made with an object: make({})' })
})

t.test('no other value is recognized as a handle', async (t) => {
  for (const value of [undefined, null, 1, 'text', {}, { duplicate () {} }, { connect () {} }]) {
    t.same([isKysely(value), isPool(value), isClient(value)], [false, false, false])
  }
})
