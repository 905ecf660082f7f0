import { createRequire } from 'node:module'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { mock } from 'node:test'
import t from 'tap'
import type { Test } from 'tap'
import type { Hasher, PasswordVerifier } from '../../lib/index.js'
import { argon2id, createArgon2Finder, createArgon2id, createArgon2Verifier, loadArgon2 } from '../../lib/passwords/argon2.js'
import { bcrypt } from '../../lib/passwords/bcrypt.js'
import work from '../../lib/passwords/bcrypt-worker.js'
import { createPasswordChecker, defaultConcurrency } from '../../lib/passwords/checker.js'
import type { PasswordCheckerSettings } from '../../lib/passwords/checker.js'
import { createPbkdf2Verifier, createScryptVerifier } from '../../lib/passwords/django.js'
import { until } from '../helpers/until.js'
import { deferred } from '../helpers/deferred.js'

interface DjangoUser { username: string, password: string | null, encoded: string }

const djangoUsers: DjangoUser[] = JSON.parse(await readFile('test/fixtures/django-users.json', 'utf8'))
const CHEAP_ARGON2 = { memoryCost: 16, timeCost: 2, parallelism: 1 }
const UNICODE = 'pässwörd-密码-🔑'

// Of the password "cheap", made with Python's hashlib and bcryptjs.
const CHEAP = {
  pbkdf2_sha256: 'pbkdf2_sha256$1$salt$jJr1M+52cwSeOy7t8CJtYSdy+fSvZiDxg9zih3IBPas=',
  pbkdf2_sha1: 'pbkdf2_sha1$1$salt$nGeO98zWHd5todi7TVkZXL6C8x0=',
  scrypt: 'scrypt$16$sält$1$1$FoVNLIXN24wdmIN1Nj1l6G7YvpOTIF5f8sPfAjgNSxnAr8SqJ/WdMnkqDwMig+jM+NZ+b2PFa7aaU1sBainzrg==',
  bcrypt: 'bcrypt$$2b$04$ETJ0UhYpXwiEzF1wY6AUNeaIhv41BYgSiCAvAyAS/A7BTgIbNg1OK',
  bcrypt_sha256: 'bcrypt_sha256$$2b$04$ETJ0UhYpXwiEzF1wY6AUNeIgQQHxwmcX5xX7i3Tqnhprqa5iQxC.C',
  plain: '$2b$04$ETJ0UhYpXwiEzF1wY6AUNeaIhv41BYgSiCAvAyAS/A7BTgIbNg1OK'
}
const PREHASHED = '$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2'
/** Of 72 times "x" and "-owner", which bcrypt ignores. */
const CUT_OFF = 'bcrypt$$2b$04$ETJ0UhYpXwiEzF1wY6AUNeLTAPwhEsyNyN8ODPfybdGXEyZo2hjz2'

const turn = () => new Promise((resolve) => setImmediate(resolve))

function recordingLogger () {
  const warnings: { fields: object, message: string }[] = []
  return { warnings, logger: { info () {}, error () {}, warn (fields: object, message: string) { warnings.push({ fields, message }) } } }
}

function createChecker (t: Test, settings: Partial<PasswordCheckerSettings> = {}) {
  const { warnings, logger } = recordingLogger()
  const checker = createPasswordChecker({
    hasher: argon2id(CHEAP_ARGON2),
    verifiers: [],
    hashing: { concurrency: null, queue: 64, maxWaitMs: 60_000 },
    randomBytes,
    logger,
    ...settings
  })
  checker.prepare()
  t.teardown(() => checker.close())
  return { checker, warnings }
}

/** A hasher that records its calls. */
function recordingHasher (more: Partial<Hasher> = {}) {
  const calls: [string, string, string?][] = []
  const hasher: Hasher = {
    async hash (password) { calls.push(['hash', password]); return `own$${password}` },
    async verify (password, stored) { calls.push(['verify', password, stored]); return stored === `own$${password}` },
    needsRehash: (stored) => stored.startsWith('own$old'),
    understands: (stored) => stored.startsWith('own$'),
    ...more
  }
  return { calls, hasher }
}

t.test('bcrypt', async (t) => {
  const hasher = bcrypt({ cost: 4 })
  t.teardown(() => hasher.close?.())
  const long = 'x'.repeat(100)

  await t.test('verifies what it hashed, and nothing else', async (t) => {
    for (const password of [UNICODE, '  spaces  ', long, '密'.repeat(30), 'a\0b', '\0']) {
      const hash = await hasher.hash(password)
      t.ok(await hasher.verify(password, hash))
      t.notOk(await hasher.verify(`${password} `, hash))
      t.notOk(await hasher.verify(`${password}\0${password}`, hash), 'a NUL does not end the password')
      t.ok(hasher.understands?.(hash))
      t.notOk(hasher.needsRehash(hash))
    }
  })

  await t.test('hashes every character of a long password', async (t) => {
    const hash = await hasher.hash(`${long}A`)
    t.match(hash, /^\$bcrypt-sha256\$v=2,t=2b,r=4\$/)
    t.notOk(await hasher.verify(`${long}B`, hash))
    t.notOk(await hasher.verify('short', hash))
  })

  await t.test('pre-hashes passwords of 72 bytes or more, so that no other ending matches', async (t) => {
    for (const [password, form] of [['x'.repeat(71), /^\$2b\$/], ['x'.repeat(72), /^\$bcrypt-sha256\$/], ['é'.repeat(36), /^\$bcrypt-sha256\$/]] as const) {
      const hash = await hasher.hash(password)
      t.match(hash, form)
      t.ok(await hasher.verify(password, hash))
      for (const tail of ['x', 'y', 'xx', '\0x']) t.notOk(await hasher.verify(password + tail, hash), JSON.stringify(tail))
    }
  })

  await t.test('reads passlib\'s bcrypt_sha256', async (t) => {
    // From passlib's documentation of the format, version 2.
    t.ok(await hasher.verify('password', PREHASHED))
  })

  await t.test('verifies plain hashes of other software unchanged', async (t) => {
    const hash = '$2y$10$IB5nzAqCA9NJR2S.2nZBW.wVyjqIEgTx2TT2dlNMcBmwbBfl/Jr3O'
    for (const kind of ['2a', '2b', '2y']) t.equal(await hasher.verify('not it', hash.replace('2y', kind)), false)
    for (const kind of ['2a', '2y']) t.ok(await hasher.verify('cheap', CHEAP.plain.replace('2b', kind)))
    t.ok(await hasher.verify('x'.repeat(72), CUT_OFF.slice(7)), 'also if the password was truncated')
  })

  await t.test('rejects damaged hashes, and excessive costs without computing them', async (t) => {
    const own = await hasher.hash('a password')
    const bad = ['', '!', 'x', own.slice(0, -1), `${own}x`, own.replace('$04$', '$31$'), own.replace('$04$', '$17$'), own.replace('$04$', '$03$'), `${own}\n`,
      PREHASHED.replace('r=12', 'r=31'), PREHASHED.replace('r=12', 'r=3'), PREHASHED.replace('r=12', 'r=04'), PREHASHED.slice(0, -1),
      'pbkdf2_sha256$260000$a$b', '$argon2id$v=19$m=1,t=1,p=1$a$b']
    for (const hash of bad) {
      t.notOk(hasher.understands?.(hash), hash.slice(0, 20))
      t.equal(await hasher.verify('a password', hash), false, hash.slice(0, 20))
      t.ok(hasher.needsRehash(hash), hash.slice(0, 20))
    }
    t.ok(bcrypt({ cost: 5 }).needsRehash(own))
    t.ok(bcrypt({ cost: 13 }).needsRehash(PREHASHED))
    t.notOk(hasher.needsRehash(own.replace('$04$', '$10$')))
  })

  await t.test('has a default cost of 12', async (t) => {
    const standard = bcrypt()
    t.teardown(() => standard.close?.())
    t.match(await standard.hash('a password'), /^\$2b\$12\$/)
  })

  await t.test('rejects bad options by name', async (t) => {
    const code = 'FST_TOKEN_AUTH_INVALID_OPTION'
    for (const cost of [3, 17, 4.5, NaN]) t.throws(() => bcrypt({ cost }), { code, message: `bcrypt: cost must be an integer from 4 to 16, got ${cost}` })
    t.throws(() => bcrypt({ cost: '4' as never }), { code, message: 'bcrypt: cost must be an integer from 4 to 16, got "4"' })
    t.throws(() => bcrypt({ cost: {} as never }), { code, message: /got an object$/ })
    for (const threads of [0, 257, 1.5]) t.throws(() => bcrypt({ threads }), { code, message: `bcrypt: threads must be an integer from 1 to 256, got ${threads}` })
  })

  await t.test('computes the same in the worker as bcryptjs', async (t) => {
    const hash = await work({ password: 'a password', salt: '$2b$04$n79VH.0Q2TMWmt3Oqt9uku' }) as string
    t.match(hash, /^\$2b\$04\$n79VH\.0Q2TMWmt3Oqt9uk/)
    t.same([await work({ password: 'a password', hash }), await work({ password: 'another', hash })], [true, false])
  })

  await t.test('works again after close()', async (t) => {
    await hasher.close?.()
    await hasher.close?.()
    t.ok(await hasher.verify('a password', await hasher.hash('a password')))
  })

  await t.test('leaves no thread behind', async (t) => {
    const own = bcrypt({ cost: 4, threads: 2 })
    const threads = () => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length
    await hasher.close?.()
    await turn()
    const before = threads()
    const busy = Promise.all(Array.from({ length: 6 }, (_, i) => own.hash(`password ${i}`)))
    await until(() => threads() > before, 'the threads have started')
    const closed = own.close?.()
    t.equal((await busy).length, 6, 'work in progress is finished')
    await closed
    await turn()
    t.equal(threads(), before)
  })
})

t.test('argon2id', async (t) => {
  const hasher = argon2id(CHEAP_ARGON2)
  const own = await hasher.hash('a password')

  await t.test('verifies what it hashed, and nothing else', async (t) => {
    t.match(own, /^\$argon2id\$v=19\$m=16,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
    for (const password of [UNICODE, '', 'x'.repeat(1024), `${'y'.repeat(100)}A`]) {
      const hash = await hasher.hash(password)
      t.ok(await hasher.verify(password, hash))
      t.notOk(await hasher.verify(`${password}z`, hash))
      t.notOk(await hasher.verify(`${password.slice(0, -1)}B`, hash))
      t.ok(hasher.understands?.(hash))
      t.notOk(hasher.needsRehash(hash))
    }
  })

  await t.test('has the parameters that OWASP recommends by default', async (t) => {
    t.match(await argon2id().hash('a password'), /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  })

  await t.test('requests a rehash of weaker hashes and other variants', async (t) => {
    const stronger = [{ memoryCost: 17 }, { timeCost: 3 }, { parallelism: 2 }]
    for (const change of stronger) {
      const other = argon2id({ ...CHEAP_ARGON2, ...change })
      t.ok(other.needsRehash(own), JSON.stringify(change))
      const hash = await other.hash('a password')
      t.notOk(hasher.needsRehash(hash), JSON.stringify(change))
      t.ok(await hasher.verify('a password', hash))
    }
    const shortSalt = own.replace(/p=1\$[^$]+/, 'p=1$c29tZXNhbHQ')
    const shortOutput = own.replace(/\$[^$]+$/, '$ZouSDuCwXrBnCJLiVct8hA')
    for (const hash of [own.replace('v=19', 'v=16'), own.replace('$v=19', ''), shortSalt, shortOutput]) {
      t.ok(hasher.understands?.(hash), hash)
      t.ok(hasher.needsRehash(hash), hash)
      t.notOk(await hasher.verify('a password', hash), hash)
    }
    for (const hash of [CHEAP.plain, own.replace('argon2id', 'argon2i'), '']) t.ok(hasher.needsRehash(hash))
  })

  await t.test('rejects damaged hashes, and excessive parameters without computing them', async (t) => {
    const bad = ['', '!', own.slice(0, -2), `${own}\n`, `${own}AA`, own.slice(1), own.replace('m=16', 'm=8388608'), own.replace('m=16', 'm=262145'), own.replace('m=16', 'm=7'),
      own.replace('m=16', 'm=016'), own.replace('m=16', 'm=-16'), own.replace('m=16', 'm=0'), own.replace('t=2', 't=17'), own.replace('t=2', 't=0'), own.replace('t=2', 't=4294967295'),
      own.replace('p=1', 'p=3'), own.replace('m=16,t=2,p=1', 'm=160,t=2,p=17'), own.replace('m=16,t=2', 'm=262144,t=5'), own.replace('v=19', 'v=18'),
      own.replace(/p=1\$[^$]+/, 'p=1$'), own.replace(/p=1\$[^$]+/, 'p=1$c29tZXNhb'), own.replace(/p=1\$[^$]+/, 'p=1$c29tZXNhbHR'), own.replace(/\$[^$]+$/, '$ZouSDuCwXrBnCJLiVct8hB'),
      own.replace(/\$[^$]+$/, `$${'A'.repeat(20)}`), own.replace('p=1', 'p=1,keyid=AA'), own.replace('argon2id', 'argon2i'), own.replace(/\$[^$]+$/, '$ZouSDuCwXrBnCJLiVct8h=')]
    for (const hash of bad) {
      t.notOk(hasher.understands?.(hash), hash)
      t.equal(await hasher.verify('a password', hash), false, hash)
    }
  })

  await t.test('accepts parameters at its limits', async (t) => {
    const { hash } = createRequire(import.meta.url)('@node-rs/argon2') as typeof import('@node-rs/argon2')
    for (const [salt, outputLen] of [[8, 16], [48, 64]] as const) {
      const stored = await hash('a password', { ...CHEAP_ARGON2, salt: Buffer.alloc(salt, 1), outputLen })
      t.ok(await hasher.verify('a password', stored), stored)
    }
    const most = [{ memoryCost: 262_144, timeCost: 1, parallelism: 1 }, { memoryCost: 128, timeCost: 16, parallelism: 16 }]
    for (const options of most) t.ok(await hasher.verify('a password', await argon2id(options).hash('a password')), JSON.stringify(options))
  })

  await t.test('rejects bad options by name', async (t) => {
    const code = 'FST_TOKEN_AUTH_INVALID_OPTION'
    const bad: [object, string][] = [
      [{ memoryCost: 7 }, 'argon2id: memoryCost must be an integer from 8 to 262144, got 7'],
      [{ memoryCost: 16, parallelism: 4 }, 'argon2id: memoryCost must be an integer from 32 to 262144, got 16'],
      [{ memoryCost: '64 MiB' }, 'argon2id: memoryCost must be an integer from 8 to 262144, got "64 MiB"'],
      [{ timeCost: 0 }, 'argon2id: timeCost must be an integer from 1 to 16, got 0'],
      [{ parallelism: 17 }, 'argon2id: parallelism must be an integer from 1 to 16, got 17'],
      [{ memoryCost: 262_144, timeCost: 5 }, 'argon2id: memoryCost * timeCost must be at most 1048576, got 1310720']
    ]
    for (const [options, message] of bad) t.throws(() => argon2id(options), { code, message })
  })

  await t.test('names the package to install if it is missing', async (t) => {
    const missing = () => { throw new Error('Cannot find module') }
    t.throws(() => createArgon2id({}, missing), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /npm install @node-rs\/argon2/, cause: { message: 'Cannot find module' } })
    t.throws(() => loadArgon2((name) => { throw new Error(`no ${name}`) }), { message: 'no @node-rs/argon2' })
    let loads = 0
    const find = createArgon2Finder(() => { loads++; throw new Error('Cannot find module') })
    t.same([find(), find(), loads], [null, null, 1])
    const verifier = createArgon2Verifier(find)
    t.notOk(verifier.understands(own))
    t.equal(await verifier.verify('a password', own), false)
  })
})

t.test('a hash from Django', async (t) => {
  const { checker, warnings } = createChecker(t)

  await t.test('is verified with its password and no other', async (t) => {
    for (const { username, password, encoded } of djangoUsers) {
      if (password === null || username === 'judy') continue
      t.equal(await checker.verify(password, encoded), 'right', username)
      t.equal(await checker.verify(`X${password}`, encoded), 'wrong', username)
      t.equal(checker.needsUpgrade(password, encoded), username !== 'olivia', username)
    }
  })

  await t.test('never matches if it is unusable', async (t) => {
    const { encoded } = djangoUsers.find(({ username }) => username === 'grace') as DjangoUser
    for (const password of ['', '!', encoded, encoded.slice(1)]) t.equal(await checker.verify(password, encoded), 'no_password')
    t.same(warnings, [])
  })

  await t.test('is rejected if its algorithm is insecure', async (t) => {
    const { encoded } = djangoUsers.find(({ username }) => username === 'judy') as DjangoUser
    t.equal(await checker.verify('legacy-md5-pass', encoded), 'unknown_hash')
    t.match(warnings, [{ fields: { kind: 'md5' }, message: /no verifier understands/ }])
    t.notMatch(JSON.stringify(warnings), /jv0fTx|566d48/)
  })

  await t.test('is verified if it uses scrypt', async (t) => {
    const vectors = [
      ['lètmein', 'scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NYafTJ7tibgfYz71m0ldQESkXFRkdVCBhhY8mx7rQwite/Pw=='],
      [UNICODE, 'scrypt$16384$Kx3pQ9dLmZrT1vWcYb7NaE$8$5$t+Nl+n04Q4YeXKeJ6Pi437mOBFxvtp+QWp0DGQonb1J50vzNFTu96cFGRvo3IpoYmAYKu2dVc9lx6iEKIgoopg==']
    ] as const
    for (const [password, encoded] of vectors) {
      t.equal(await checker.verify(password, encoded), 'right')
      t.equal(await checker.verify(`${password}z`, encoded), 'wrong')
      t.ok(checker.needsUpgrade(password, encoded))
    }
  })

  await t.test('is verified if it uses Argon2 before version 19, which has no version field', async (t) => {
    const encoded = 'argon2$argon2i$m=8,t=1,p=1$c29tZXNhbHQ$gwQOXSNhxiOxPOA0+PY10P9QFO4NAYysnqRt1GSQLE55m+2GYDt9FEjPMHhP2Cuf0nOEXXMocVrsJAtNSsKyfg'
    for (const stored of [encoded, encoded.replace('$m', '$v=16$m'), encoded.slice(6)]) {
      t.equal(await checker.verify('secret', stored), 'right', stored)
      t.equal(await checker.verify('wrong', stored), 'wrong', stored)
    }
    const { hash } = createRequire(import.meta.url)('@node-rs/argon2') as typeof import('@node-rs/argon2')
    for (const algorithm of [0, 1, 2]) t.equal(await checker.verify('secret', await hash('secret', { ...CHEAP_ARGON2, algorithm })), 'right')
  })

  await t.test('is verified besides the hasher\'s own, as is pre-hashed bcrypt after a switch to Argon2', async (t) => {
    const before = bcrypt({ cost: 4, threads: 1 })
    t.teardown(() => before.close?.())
    const password = 'x'.repeat(80)
    const stored = await before.hash(password)
    t.same([await checker.verify(password, stored), await checker.verify(`${password}x`, stored)], ['right', 'wrong'])
    t.ok(checker.needsUpgrade(password, stored))
    const upgraded = await checker.hash(password)
    t.same([await checker.verify(password, upgraded), checker.needsUpgrade(password, upgraded)], ['right', false])
    t.equal(await checker.verify('x'.repeat(72), CUT_OFF), 'right', 'with the bytes that Django hashed')
  })

  await t.test('is not computed if it is damaged or has excessive parameters', async (t) => {
    for (const [kind, encoded] of Object.entries(CHEAP)) {
      t.equal(await checker.verify('cheap', encoded), 'right', kind)
      const damaged = [encoded.slice(0, -5), encoded.slice(0, -1), `${encoded}A`, `${encoded}\n`, ` ${encoded}`, encoded.slice(0, 10), encoded.toUpperCase(), `x${encoded}`]
      for (const stored of damaged) t.equal(await checker.verify('cheap', stored), 'unknown_hash', JSON.stringify(stored))
    }
    const change = (encoded: string, field: number, ...values: string[]) => values.map((value) => encoded.split('$').map((old, i) => i === field ? value : old).join('$'))
    const absurd = [
      ...['pbkdf2_sha256', 'pbkdf2_sha1'].flatMap((kind) => [
        ...change(CHEAP[kind as 'pbkdf2_sha1'], 1, '0', '-1', '1000000000000', '5000001', '1e3', '01', '', '0x10', '1.5'),
        ...change(CHEAP[kind as 'pbkdf2_sha1'], 2, '', 'a'.repeat(257)),
        ...change(CHEAP[kind as 'pbkdf2_sha1'], 3, '', '!!!!', 'AAAA', 'notahash=', `${'A'.repeat(43)}B`, `${'A'.repeat(42)}B=`, `${'A'.repeat(26)}B=`)
      ]),
      ...change(CHEAP.scrypt, 1, '0', '1', '15', '17', '-16', '4194304', '16777216', '67108864', '1e3'),
      ...change(CHEAP.scrypt, 2, '', 'a'.repeat(257)),
      ...change(CHEAP.scrypt, 3, '0', '-1', '100', ''),
      ...change(CHEAP.scrypt, 4, '0', '-1', '100', ''),
      ...change(CHEAP.scrypt, 5, '', 'AAAA', 'x'.repeat(88), CHEAP.pbkdf2_sha256.split('$')[3] as string),
      CHEAP.scrypt.replace('$16$sält$1$1$', '$262144$sält$8$3$'),
      ...[CHEAP.bcrypt, CHEAP.bcrypt_sha256, CHEAP.plain].flatMap((encoded) => ['31', '17', '03', '00', '4', '99'].map((cost) => encoded.replace('$04$', `$${cost}$`))),
      `bcrypt$${PREHASHED}`, `bcrypt_sha256$${PREHASHED}`, `bcrypt$${CHEAP.bcrypt}`,
      'argon2$argon2id$v=19$m=8388608,t=2,p=8$bGlvTVBmRUZHamhwRmczS2RZdFAxNA$ZouSDuCwXrBnCJLiVct8hA',
      'argon2$argon2id$v=19$m=102400,t=2,p=8$$ZouSDuCwXrBnCJLiVct8hA', 'argon2$argon2id', 'argon2$', 'argon2',
      'sha1$a$b', 'plaintext', '', '$', '$$', '$2b$', '\0', 'x'.repeat(100_000)
    ]
    for (const stored of absurd) t.equal(await checker.verify('cheap', stored), 'unknown_hash', JSON.stringify(stored.slice(0, 60)))
  })

  await t.test('causes no exception in a verifier that does not understand it', async (t) => {
    for (const verifier of [createPbkdf2Verifier(), createScryptVerifier(), createArgon2Verifier(createArgon2Finder())]) {
      for (const stored of ['', 'x', CHEAP.plain]) t.same([verifier.understands(stored), await verifier.verify('cheap', stored)], [false, false])
    }
  })
})

t.test('a checker', async (t) => {
  await t.test('does the same work for every refused login', async (t) => {
    const { calls, hasher } = recordingHasher()
    const { checker } = createChecker(t, { hasher, randomBytes: (size) => Buffer.alloc(size, 7) })
    await turn()
    const dummy = calls[0]?.[1] as string
    t.same(calls, [['hash', Buffer.alloc(16, 7).toString('base64url')]], 'one hash at the start')
    const refused: [string | null, string][] = [
      [null, 'no_password'], ['!abc', 'no_password'], ['!', 'no_password'], ['md5$a$b', 'unknown_hash'], ['', 'unknown_hash'],
      ['pbkdf2_sha256$1000000000$a$b', 'unknown_hash'], [`own$${dummy}`, 'wrong']
    ]
    for (const [stored, verdict] of refused) {
      for (const password of ['guess', 'x'.repeat(1000)]) {
        calls.length = 0
        t.equal(await checker.verify(password, stored), verdict, `${stored}`)
        t.same(calls, [['verify', password, `own$${dummy}`]], `${stored}`)
      }
    }
  })

  await t.test('never accepts the password of the dummy hash', async (t) => {
    const { checker } = createChecker(t, { randomBytes: (size) => Buffer.alloc(size, 7) })
    for (const stored of [null, '!', 'md5$a$b']) t.not(await checker.verify(Buffer.alloc(16, 7).toString('base64url'), stored), 'right')
  })

  await t.test('accepts only true as a match', async (t) => {
    const { checker } = createChecker(t, { hasher: recordingHasher({ verify: async () => ({ ok: false }) as never }).hasher })
    t.equal(await checker.verify('guess', 'own$x'), 'wrong')
  })

  await t.test('uses the hasher first, then the host\'s verifiers, then its own', async (t) => {
    const asked: string[] = []
    const verifier = (name: string, start: string): PasswordVerifier => ({
      understands: (stored) => stored.startsWith(start),
      verify: async () => { asked.push(name); return true }
    })
    const { calls, hasher } = recordingHasher()
    const { checker } = createChecker(t, { hasher, verifiers: [verifier('one', 'own$'), verifier('two', 'pbkdf2_sha1$1$'), verifier('three', 'pbkdf2_')] })
    for (const stored of ['own$x', CHEAP.pbkdf2_sha1, CHEAP.pbkdf2_sha256, CHEAP.scrypt, 'pbkdf2_x']) await checker.verify('cheap', stored)
    t.same(asked, ['two', 'three', 'three'])
    t.equal(calls.filter(([name]) => name === 'verify').length, 1)
  })

  await t.test('gives a hasher without understands() its own kind of hash, and hashes that no verifier understands', async (t) => {
    const { calls, hasher } = recordingHasher({ hash: async (password) => `$2b$peppered$${password}`, verify: async (password, stored) => { calls.push(['verify', password, stored]); return true } })
    delete hasher.understands
    const { checker, warnings } = createChecker(t, { hasher })
    for (const stored of [CHEAP.plain, 'v0.foreign', CHEAP.scrypt]) t.equal(await checker.verify('cheap', stored), 'right')
    t.same(calls.map(([, , stored]) => stored), [CHEAP.plain, 'v0.foreign'])
    t.same([CHEAP.plain, 'v0.foreign', 'own$old', CHEAP.scrypt].map((stored) => checker.needsUpgrade('cheap', stored)), [false, false, true, true])
    t.same(warnings, [])
  })

  await t.test('uses needsRehash() of the hasher even if a verifier of the host verifies the hasher\'s hashes', async (t) => {
    const { hasher } = recordingHasher()
    delete hasher.understands
    const { checker } = createChecker(t, { hasher, verifiers: [{ understands: (stored) => stored.startsWith('own$'), verify: async () => true }] })
    t.ok(checker.needsUpgrade('a', 'own$new'), 'before it has seen a hash of the hasher')
    await checker.verify('a', 'own$new')
    t.same([checker.needsUpgrade('a', 'own$new'), checker.needsUpgrade('a', 'own$old')], [false, true])
  })

  await t.test('upgrades weaker and foreign hashes, but none whose password bcrypt may have truncated', async (t) => {
    const { checker } = createChecker(t, { hasher: { ...bcrypt({ cost: 5 }), hash: async () => CHEAP.plain } })
    const [short, long] = ['x'.repeat(71), 'x'.repeat(72)]
    for (const stored of [CUT_OFF, CHEAP.plain]) t.same([checker.needsUpgrade(short, stored), checker.needsUpgrade(long, stored)], [true, false])
    for (const stored of [CHEAP.bcrypt_sha256, CHEAP.pbkdf2_sha1, PREHASHED.replace('12', '4')]) t.ok(checker.needsUpgrade(long, stored), stored)
    t.notOk(checker.needsUpgrade(long, PREHASHED))
  })

  await t.test('verifies a hash that is stronger than new ones, and never upgrades it', async (t) => {
    const { checker } = createChecker(t, { hasher: bcrypt({ cost: 4 }) })
    const strong = bcrypt({ cost: 5 })
    t.teardown(() => strong.close?.())
    const stored = await strong.hash('a password')
    t.equal(await checker.verify('a password', stored), 'right')
    t.notOk(checker.needsUpgrade('a password', stored))
  })

  await t.test('warns about hashes that no verifier understands, rarely and without the hash', async (t) => {
    let at = 0
    const { checker, warnings } = createChecker(t, { monotonicNow: () => at, findArgon2: () => null })
    await checker.verify('a', 'hunter2$is$my$password')
    await checker.verify('a', 'sha1$a$b')
    t.match(warnings, [{ fields: { kind: 'unknown' } }])
    at = 600_000
    const { encoded } = djangoUsers.find(({ username }) => username === 'frank') as DjangoUser
    t.equal(await checker.verify('argon-is-noble-18', encoded), 'unknown_hash')
    t.match(warnings[1], { fields: { kind: 'argon2' }, message: /npm install @node-rs\/argon2$/ })
    at *= 2
    await checker.verify('a', '$6$salt$hash')
    t.match(warnings[2], { fields: { kind: '6' }, message: /no verifier understands/ })
    t.notMatch(JSON.stringify(warnings), /hunter2|ZouSDu|salt/)
  })

  await t.test('rejects with 503, and never returns a verdict, when a hasher fails', async (t) => {
    const failing = async () => { throw new Error('out of memory') }
    const unavailable = { code: 'FST_TOKEN_AUTH_UNAVAILABLE', statusCode: 503, cause: { message: 'out of memory' } }
    const { checker } = createChecker(t, { hasher: recordingHasher({ verify: failing }).hasher })
    for (const stored of [null, 'own$x', 'md5$a$b']) await t.rejects(checker.verify('a', stored), unavailable)
    const { checker: other } = createChecker(t, { hasher: recordingHasher({ hash: failing }).hasher })
    await t.rejects(other.hash('a'), unavailable)
    const { checker: third } = createChecker(t, { verifiers: [{ understands: () => true, verify: () => { throw new Error('out of memory') } }] })
    await t.rejects(third.verify('a', 'own$x'), unavailable)
  })

  await t.test('retries a failed dummy hash, and treats known and unknown users alike meanwhile', async (t) => {
    let isFailing = true
    const { checker } = createChecker(t, {
      hasher: recordingHasher({ hash: async () => { if (isFailing) throw new Error('not yet'); return 'own$dummy' } }).hasher
    })
    const unavailable = { code: 'FST_TOKEN_AUTH_UNAVAILABLE', cause: { message: 'not yet' } }
    await turn()
    for (const stored of [null, 'own$a']) await t.rejects(checker.verify('a', stored), unavailable)
    isFailing = false
    t.same([await checker.verify('a', null), await checker.verify('a', 'own$a')], ['no_password', 'right'])
  })

  await t.test('limits running and waiting work of every kind', async (t) => {
    const start = deferred<undefined>()
    const foreign = deferred<boolean>()
    const { checker } = createChecker(t, {
      hasher: recordingHasher({ hash: async () => { await start.promise; return 'own$dummy' } }).hasher,
      verifiers: [{ understands: (stored) => stored.startsWith('foreign$'), verify: () => foreign.promise }],
      hashing: { concurrency: 2, queue: 2, maxWaitMs: 60_000 }
    })
    const overloaded = { code: 'FST_TOKEN_AUTH_OVERLOADED', statusCode: 503, retryAfterSeconds: 0 }
    const running = checker.verify('a', 'foreign$a')
    t.notOk(checker.isBusy, 'the dummy hash takes no place')
    const verdicts = [checker.verify('a', 'own$a')]
    t.ok(checker.isBusy)
    verdicts.push(checker.verify('a', null), checker.verify('a', '!'))
    await t.rejects(checker.verify('a', 'own$a'), overloaded)
    await t.rejects(checker.hash('a'), overloaded)
    start.resolve(undefined)
    t.same(await Promise.all(verdicts), ['right', 'no_password', 'no_password'])
    t.notOk(checker.isBusy)
    foreign.resolve(true)
    t.equal(await running, 'right')
  })

  await t.test('rejects work that waits longer than maxWait', async (t) => {
    const start = deferred<string>()
    const { checker } = createChecker(t, {
      hasher: recordingHasher({ hash: () => start.promise }).hasher,
      hashing: { concurrency: 1, queue: 5, maxWaitMs: 10 }
    })
    const running = checker.verify('a', 'own$a')
    await t.rejects(checker.verify('a', 'own$a'), { code: 'FST_TOKEN_AUTH_OVERLOADED' })
    start.resolve('own$dummy')
    t.equal(await running, 'right')
    t.equal(await checker.verify('a', 'own$a'), 'right')
  })

  await t.test('hashes a password while it computes the dummy hash, even with a concurrency of 1', async (t) => {
    const start = deferred<string>()
    let hashes = 0
    const { checker } = createChecker(t, {
      hasher: recordingHasher({ hash: async () => hashes++ === 0 ? await start.promise : 'own$first' }).hasher,
      hashing: { concurrency: 1, queue: 0, maxWaitMs: 60_000 }
    })
    await turn()
    t.equal(await checker.hash('a'), 'own$first')
    start.resolve('own$dummy')
  })

  await t.test('frees the place of a hasher that does not settle in time, and rejects with 503', async (t) => {
    const late = deferred<boolean>()
    let isHanging = true
    const hang = async () => await late.promise
    const { hasher } = recordingHasher({ verify: async () => false, hash: async (password) => isHanging && password === 'hunter2' ? String(await hang()) : 'own$dummy' })
    const { checker } = createChecker(t, {
      hasher,
      verifiers: [{ understands: (stored) => stored.startsWith('foreign$'), verify: hang }],
      hashing: { concurrency: 1, queue: 5, maxWaitMs: 60_000 },
      timeoutMs: 20
    })
    const unavailable = { code: 'FST_TOKEN_AUTH_UNAVAILABLE', statusCode: 503, cause: { message: 'a hasher did not settle within 20 ms' } }
    const [hanging, waiting] = [checker.verify('hunter2', 'foreign$a'), checker.verify('a', 'own$a')]
    await t.rejects(hanging, unavailable)
    t.equal(await waiting, 'wrong')
    await t.rejects(checker.hash('hunter2'), unavailable)
    t.notOk(checker.isBusy)
    isHanging = false
    late.resolve(true)
    await turn()
    t.same([await checker.hash('hunter2'), await checker.verify('hunter2', 'foreign$a'), checker.isBusy], ['own$dummy', 'right', false])
  })

  await t.test('computes the dummy hash again if the hasher did not settle the first time', async (t) => {
    let isHanging = true
    const { checker } = createChecker(t, {
      hasher: recordingHasher({ hash: async () => isHanging ? await new Promise<never>(() => {}) : 'own$dummy' }).hasher,
      timeoutMs: 20
    })
    await t.rejects(checker.verify('a', null), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    isHanging = false
    await until(async () => await checker.verify('a', null).catch(() => null) === 'no_password', 'it is computed')
    t.equal(await checker.verify('a', 'own$a'), 'right')
  })

  await t.test('has a time limit of 30 s by default', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => mock.timers.reset())
    const { checker } = createChecker(t, { hasher: recordingHasher({ verify: () => new Promise<never>(() => {}) }).hasher })
    let isOver = false
    const verdict = t.rejects(checker.verify('a', null), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' }).then(() => { isOver = true })
    await turn()
    mock.timers.tick(29_999)
    for (let i = 0; i < 3; i++) await turn()
    t.notOk(isOver)
    mock.timers.tick(1)
    await verdict
  })

  await t.test('waits for hanging work at most the time limit when it closes', async (t) => {
    const never = () => new Promise<never>(() => {})
    const closed: string[] = []
    const { hasher } = recordingHasher({ verify: never, close: async () => { closed.push('hasher') } })
    const { checker, warnings } = createChecker(t, { hasher, verifiers: [{ understands: () => false, verify: never, close: never }], timeoutMs: 20 })
    const verdict = t.rejects(checker.verify('a', 'own$a'), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    await turn()
    await checker.close()
    await verdict
    t.same(closed, ['hasher'])
    t.match(warnings, [{ fields: { err: { message: 'a hasher did not settle within 20 ms' } }, message: 'a password hasher could not be closed' }])
  })

  await t.test('leaves a core and one thread of libuv free by default', async (t) => {
    const cores = availableParallelism()
    const cases: [string | undefined, number][] = [[undefined, 4], ['2', 2], ['1', 2], ['64', 64], ['nonsense', 4]]
    for (const [size, most] of cases) t.equal(defaultConcurrency(size === undefined ? {} : { UV_THREADPOOL_SIZE: size }), Math.max(1, Math.min(cores, most) - 1), `of ${size}`)
  })

  await t.test('rejects work at once if the expected wait exceeds maxWait', async (t) => {
    let at = 0
    const foreign = [deferred<boolean>(), deferred<boolean>(), deferred<boolean>(), deferred<boolean>()]
    let verified = 0
    const { checker } = createChecker(t, {
      hasher: recordingHasher({ hash: async () => { at += 20_000; return 'own$dummy' } }).hasher,
      verifiers: [{ understands: (stored) => stored.startsWith('foreign$'), verify: () => foreign[verified++]!.promise }],
      hashing: { concurrency: 1, queue: 64, maxWaitMs: 50_000 },
      monotonicNow: () => at
    })
    await turn()
    const verdicts = [1, 2, 3].map(() => checker.verify('a', 'foreign$a'))
    const overloaded = { code: 'FST_TOKEN_AUTH_OVERLOADED', retryAfterSeconds: 60 }
    await t.rejects(checker.verify('a', 'foreign$a'), overloaded)
    await t.rejects(checker.hash('a'), overloaded)
    t.throws(checker.reserve, overloaded)
    at += 80_000
    foreign[0]!.resolve(true)
    t.equal(await verdicts[0], 'right')
    await t.rejects(checker.verify('a', 'foreign$a'), { code: 'FST_TOKEN_AUTH_OVERLOADED', retryAfterSeconds: 70 }, 'hashing has become slower')
    foreign[1]!.resolve(true)
    foreign[2]!.resolve(true)
    t.same(await Promise.all(verdicts), ['right', 'right', 'right'])
    foreign[3]!.resolve(true)
    const release = checker.reserve()
    t.equal(await checker.verify('a', 'foreign$a').finally(release), 'right', 'work that need not wait is never rejected')
  })

  await t.test('closes the hasher and the verifiers after the work in progress, and rejects new work', async (t) => {
    const answer = deferred<boolean>()
    const closed: string[] = []
    const { hasher } = recordingHasher({ verify: () => answer.promise, close: async () => { closed.push('hasher') } })
    const { checker } = createChecker(t, { hasher, verifiers: [{ understands: () => false, verify: async () => false, close: async () => { closed.push('verifier') } }] })
    const verdict = checker.verify('a', 'own$a')
    await turn()
    const closing = checker.close()
    await turn()
    t.same(closed, [])
    await t.rejects(checker.verify('a', 'own$a'), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    answer.resolve(true)
    t.equal(await verdict, 'right')
    await closing
    t.same(closed, ['hasher', 'verifier'])
  })
})

t.test('a password is found in whatever Unicode form it is typed', async (t) => {
  const { calls, hasher } = recordingHasher()
  const { checker } = createChecker(t, { hasher })
  const [nfc, nfd] = ['pässwörd-é', 'pässwörd-é'.normalize('NFD')]
  t.not(nfd, nfc)
  const stored = await checker.hash(nfd)
  t.equal(stored, `own$${nfc}`, 'new ones are hashed as NFC')
  for (const typed of [nfc, nfd]) t.equal(await checker.verify(typed, stored), 'right')
  t.equal(await checker.verify(nfd, `own$${nfd}`), 'right', 'one that other software has stored as typed')
  const work = async (typed: string, hash: string | null) => {
    calls.length = 0
    await checker.verify(typed, hash)
    return calls.length
  }
  t.same([await work('wrong', stored), await work('wrong', null)], [1, 1])
  t.same([await work(`${nfd}x`, stored), await work(`${nfd}x`, null)], [2, 2], 'known or not, a wrong one costs the same')
})
