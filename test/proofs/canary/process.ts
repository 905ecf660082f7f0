// A process with servers whose host outputs every log line, event and error that it receives. The test controls it over IPC.
import { subscribe } from 'node:diagnostics_channel'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { authPlugin, haveIBeenPwned, recaptcha, recaptchaEnterprise } from '../../../lib/index.js'
import type { AuthPluginOptions, CaptchaVerdict } from '../../../lib/index.js'
import { fastHasher } from '../../helpers/app.js'

const EVENTS = ['login', 'loginFailed', 'logout', 'passwordChanged', 'passwordChangeFailed', 'revoked', 'tokenRefused', 'cacheError']
const FACTORIES = { recaptcha, recaptchaEnterprise }

/** The current behavior of the host's own functions. */
const moods: Record<string, string> = {}
const apps: Record<string, FastifyInstance> = {}
const events: string[] = []
const errors: string[] = []

const show = (value: unknown) => inspect(value, { depth: 10, showHidden: true, maxStringLength: null })

/** An error that contains a secret in every property. */
function tellTale (secret: string): Error {
  return Object.assign(new Error(`cannot use ${JSON.stringify(secret)}`, { cause: new Error(secret) }), { input: secret })
}

const hasher = {
  ...fastHasher,
  async hash (password: string) {
    if (moods['hash'] === 'throws') throw tellTale(password)
    return await fastHasher.hash(password)
  },
  async verify (password: string, hash: string) {
    if (moods['verify'] === 'throws') throw tellTale(password)
    if (moods['verify'] === 'throws the hash') throw tellTale(hash)
    return await fastHasher.verify(password, hash)
  },
  needsRehash: () => moods['rehash'] === 'yes'
}

function check (password: string): string | null {
  if (moods['check'] === 'throws') throw tellTale(password)
  return moods['check'] === 'refuses' ? 'not this one' : null
}

async function captcha (answer: string): Promise<CaptchaVerdict> {
  if (moods['captcha'] === 'throws') throw tellTale(answer)
  if (moods['captcha'] === 'throws a code') throw Object.assign(tellTale(answer), { code: answer, name: answer })
  return { ok: false, reason: moods['captcha'] === 'quotes' ? `no: ${answer}` : answer }
}

function hook (event: unknown): void {
  events.push(show(event))
  if (moods['hooks'] === 'throw') throw new Error('a hook of the host failed')
}

interface Given { plant?: string, captchaBy?: keyof typeof FACTORIES | 'own', captchaOptions?: any, breachedUrl?: string, hasParts?: boolean }

function toOptions ({ plant, captchaBy, captchaOptions, breachedUrl, hasParts = true, ...options }: Given & Record<string, unknown>): AuthPluginOptions {
  const { breached, ...password } = options['password'] as Record<string, unknown> ?? {}
  return {
    ...options,
    ...hasParts ? { hasher, password: { ...password, check, ...breachedUrl === undefined ? {} : { breached: haveIBeenPwned({ url: breachedUrl }) } } } : {},
    ...captchaBy === undefined ? {} : { captcha: captchaBy === 'own' ? captcha : FACTORIES[captchaBy](captchaOptions) },
    hooks: Object.fromEntries(EVENTS.map((name) => [`on${name[0]!.toUpperCase()}${name.slice(1)}`, hook]))
  } as unknown as AuthPluginOptions
}

const commands: Record<string, (...args: any[]) => unknown> = {
  async open (name: string, given: Given & Record<string, unknown>) {
    const app = Fastify({ logger: { level: 'trace' } })
    try {
      await app.register(swagger, { openapi: { info: { title: 'canary', version: '1' } } })
      await app.register(authPlugin, toOptions(given))
      app.setErrorHandler((error) => {
        errors.push(show(error))
        throw error
      })
      app.get('/planted/:text', { schema: { description: String(given.plant) } }, async (request, reply) => {
        reply.header('x-planted', (request.params as { text: string }).text)
        throw new Error((request.params as { text: string }).text)
      })
      await app.listen({ port: 0, host: '127.0.0.1' })
    } catch (error) {
      await app.close()
      throw error
    }
    apps[name] = app
    return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  },
  admin: async (name: string, method: string, ...args: unknown[]) => await (apps[name]!.tokenAuth as any)[method](...args),
  mood: (more: object) => Object.assign(moods, more),
  plant (text: string) {
    apps['main']!.log.trace({ text }, 'planted')
    process.stderr.write(`${text}\n`)
    hook({ text })
  },
  report: () => ({ events, errors, openapi: Object.values(apps).map((app) => JSON.stringify(app.swagger())) }),
  close: async () => await Promise.all(Object.values(apps).map((app) => app.close()))
}

for (const name of EVENTS) subscribe(`fastify-token-auth:${name}`, (event) => { events.push(show(event)) })
process.on('message', ({ id, name, args }: { id: number, name: string, args: unknown[] }) => {
  const done = async () => await commands[name]!(...args)
  done().then((result) => ({ id, result: result ?? null }), (error) => ({ id, error: show(error), code: String(error?.code) }))
    .then((answer) => { process.send!(answer) })
})
process.on('disconnect', () => process.exit())
