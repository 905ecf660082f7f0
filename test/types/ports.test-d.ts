import { expectAssignable, expectError, expectNotAssignable, expectType } from 'tsd'
import type { AuthPluginOptions, Captcha, CaptchaVerdict, Hasher } from 'fastify-token-auth'

const hasher: Hasher = {
  async hash (password) {
    expectType<string>(password)
    return password
  },
  verify: async (password, hash) => password === hash,
  needsRehash: (hash) => hash.length < 60
}
expectAssignable<AuthPluginOptions>({ database: {}, hasher })
expectAssignable<Hasher>({ ...hasher, close: async () => {} })
expectNotAssignable<Hasher>({ ...hasher, verify: (password: string, hash: string) => password === hash })
expectNotAssignable<Hasher>({ hash: hasher.hash, verify: hasher.verify })

class Puzzle implements Captcha {
  async verify (answer: string, { ip, signal }: { ip: string | null, signal: AbortSignal }): Promise<CaptchaVerdict> {
    expectType<string | null>(ip)
    await fetch('https://puzzle.example', { method: 'POST', body: answer, signal })
    return answer === '42' ? { ok: true } : { ok: false, reason: 'wrong' }
  }
}
expectAssignable<AuthPluginOptions>({ database: {}, captcha: new Puzzle() })
expectAssignable<Captcha>({ verify: async () => true, when: 'after-failures' })
expectAssignable<AuthPluginOptions>({ database: {}, captcha: async (answer, { ip }) => answer === ip })
expectNotAssignable<Captcha>({ verify: async () => 'yes' })
expectError<CaptchaVerdict>({ ok: false })
