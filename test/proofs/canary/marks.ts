import { createHash, randomBytes } from 'node:crypto'

/** The places where each kind of value may appear. A kind that is not listed may appear nowhere. */
export const MAY_BE_IN: Record<string, RegExp> = {
  password: /^nowhere$/,
  'typed name': /^nowhere$/,
  // The reply to a login or a change of password contains its token, which is removed before the search.
  token: /^nowhere$/,
  'token digest': /^(redis|sql auth_tokens\.digest)/,
  'captcha answer': /^asked of the captcha provider$/,
  'captcha secret': /^asked of the captcha provider$/,
  'API key': /^asked of the captcha provider$/,
  'database password': /^nowhere$/,
  'Redis password': /^nowhere$/,
  'password hash': /^sql users\.password_hash$/,
  'key of the pseudonyms': /^sql auth_tokens_server_key\.value$/,
  // Errors of ioredis contain the command; the redacted errors have no key.
  'namespace of Redis keys': /^redis|^sql auth_tokens_caches\.namespace/,
  // A cached session contains its user, and a command prints the username that it was given.
  username: /^(replies|sql users\.username|redis (values|monitor|slowlog)|command line)$/
}

export interface Mark {
  kind: string
  value: string | Buffer
  /** The letters and digits of the value, which are the same however it is quoted. */
  core: string | null
}

export interface Place {
  name: string
  text: string
}

/** A new unique value; `around` adds characters around its core that make it hard to find. */
export function createMark (kind: string, around = (core: string) => core): Mark {
  const core = `canary${randomBytes(8).toString('hex')}`
  return { kind, core, value: around(core) }
}

/** One line for every mark in a place where it is not allowed. */
export function findLeaks (places: Place[], marks: Mark[]): string[] {
  const find = createFinder(marks)
  return places.flatMap(({ name, text }) => [...find(text)]
    .filter(([{ kind }]) => MAY_BE_IN[kind]?.test(name) !== true)
    .map(([{ kind, value }, excerpt]) => `${name} has the ${kind} ${String(value).slice(0, 60)}: ...${excerpt}...`))
}

/** Finds the marks that a text contains in any form, with the surrounding text. */
export function createFinder (marks: Mark[]): (text: string) => Map<Mark, string> {
  const index = new Map<string, { mark: Mark, form: string }[]>()
  for (const mark of marks) {
    for (const form of formsOf(mark)) {
      const start = form.slice(0, START)
      index.set(start, [...index.get(start) ?? [], { mark, form }])
    }
  }
  return (given) => {
    const text = given.toLowerCase()
    const found = new Map<Mark, string>()
    for (let i = 0; i + START <= text.length; i++) {
      for (const { mark, form } of index.get(text.slice(i, i + START)) ?? []) {
        if (text.startsWith(form, i)) found.set(mark, given.slice(Math.max(0, i - 150), i + form.length + 50))
      }
    }
    return found
  }
}

/** The length of the prefix by which forms are looked up. All forms are at least as long. */
const START = 8

// In lower case, because usernames are folded before they are counted.
function formsOf ({ kind, value, core }: Mark): Set<string> {
  const forms = [...encodings(Buffer.from(value)), ...core === null ? [] : encodings(Buffer.from(core))]
  if (typeof value === 'string') forms.push(...quoted(value))
  // Digests of tokens are the cache's keys. Other values could be guessed from their digests.
  if (kind !== 'token digest') forms.push(...digests(kind, value))
  return new Set(forms.map((form) => form.toLowerCase()).filter((form) => form.length >= START))
}

function quoted (text: string): string[] {
  return [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text), new URLSearchParams({ v: text }).toString().slice(2)]
}

function encodings (bytes: Buffer): string[] {
  const base64 = [0, 1, 2].map((offset) => base64Inside(bytes, offset))
  const url = base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'))
  const hex = bytes.toString('hex')
  return [bytes.toString('latin1'), ...base64, ...url, ...base64.map(encodeURIComponent), hex, hex.replace(/..(?=.)/g, '$& '), [...bytes].join(','), inMonitor(bytes)]
}

/** The base64 characters that depend only on these bytes, if `offset` (modulo 3) other bytes precede them. */
function base64Inside (bytes: Buffer, offset: number): string {
  const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
  return text.slice(Math.ceil(offset * 8 / 6), Math.floor((offset + bytes.length) * 8 / 6))
}

/** Quoted as in the output of MONITOR. */
function inMonitor (bytes: Buffer): string {
  return [...bytes].map((byte) => byte >= 32 && byte < 127 ? String.fromCharCode(byte).replace(/["\\]/, '\\$&') : `\\x${byte.toString(16).padStart(2, '0')}`).join('')
}

function digests (kind: string, value: string | Buffer): string[] {
  const algorithms = kind === 'token' ? ['sha1', 'md5'] : ['sha256', 'sha1', 'md5']
  return algorithms.flatMap((algorithm) => ['', 'account\0', 'name\0', 'captcha\0'].flatMap((purpose) => {
    const digest = createHash(algorithm).update(purpose).update(value).digest()
    return [digest.toString('hex'), digest.toString('base64').replace(/=+$/, ''), digest.toString('base64url')]
  }))
}
