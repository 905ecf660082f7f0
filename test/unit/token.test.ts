import { randomBytes } from 'node:crypto'
import t from 'tap'
import { scanningPattern } from '../../lib/index.js'
import { createTokenFormat, digestOf } from '../../lib/crypto/token.js'

t.test('a token', async (t) => {
  const { create, isWellFormed } = createTokenFormat({ prefix: 'fta', randomBytes })

  await t.test('is made of the given random bytes', async (t) => {
    const fixed = createTokenFormat({ prefix: 'acme', randomBytes: (size) => Buffer.alloc(size, 7) })
    const token = fixed.create()
    t.equal(token, fixed.create())
    t.match(token, /^acme_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc[0-9A-Za-z]{6}$/)
    t.notOk(isWellFormed(token), 'with another prefix')
  })

  await t.test('is unique, and matches the pattern for secret scanners', async (t) => {
    const tokens = Array.from({ length: 2000 }, create)
    t.equal(new Set(tokens).size, 2000)
    const pattern = new RegExp(scanningPattern('fta'))
    t.ok(tokens.every((token) => isWellFormed(token) && pattern.test(`key = "${token}";`)))
    t.equal(new Set(tokens.map((token) => token[4])).size > 30, true)
  })

  await t.test('with any one character changed is refused before any lookup', async (t) => {
    const token = create()
    for (let i = 0; i < token.length; i++) {
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1)
      t.notOk(isWellFormed(changed), `at ${i}`)
    }
    for (const text of ['', token + 'A', token.slice(1), ` ${token}`, token.replace('_', '-'), `${token}\n`]) t.notOk(isWellFormed(text))
  })

  await t.test('is identified by its SHA-256 digest', async (t) => {
    t.equal(digestOf('abc'), Buffer.from('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', 'hex').toString('base64url'))
  })
})
