/** What a setting of a connection must be if it is present. */
export interface Setting {
  expected: string
  isFine (value: unknown): boolean
  /** What the error says of a value that may be a secret. `undefined`: the value. */
  show? (value: unknown): string | undefined
}

const isText = (value: unknown) => typeof value === 'string' && value !== ''
const beginsWith = (pattern: RegExp) => (value: unknown) => typeof value === 'string' && pattern.test(value)

// pg and ioredis read a URL with another beginning all the same: as a host, a database or a socket that nobody meant.
export const POSTGRES_URL: Setting = { expected: 'a URL that begins with postgres:// or postgresql://', isFine: beginsWith(/^(postgres(ql)?:\/\/|socket:|\/)/), show: showUrl }
export const REDIS_URL: Setting = { expected: 'a URL that begins with redis:// or rediss://, or the path of a socket', isFine: beginsWith(/^(rediss?:\/\/|\/)/), show: showUrl }
export const HOST: Setting = { expected: 'a host name', isFine: isText }
export const PATH: Setting = { expected: 'a path', isFine: isText }
// `Number(process.env.PORT)` of an unset variable is NaN.
export const PORT: Setting = { expected: 'a port', isFine: (value) => /^\d{1,5}$/.test(String(value)) }
export const NAME: Setting = { expected: 'a name', isFine: isText }
export const PASSWORD: Setting = {
  expected: 'a string or a function',
  isFine: (value) => typeof value === 'string' || typeof value === 'function',
  show: (value) => typeof value === 'number' ? 'a number' : undefined
}
// pg writes these into its first message as they are. Another value throws there, where nothing can catch it.
export const TEXT = optional({ expected: 'a string', isFine: (value) => typeof value === 'string' })

export function optional (setting: Setting): Setting {
  return { ...setting, isFine: (value) => value === undefined || setting.isFine(value) }
}

/** Whether a `/`, `?` or `#` of the password ends the host too early, so that an `@` comes after it: the user would be taken for the host. */
export function isCutOff (url: unknown): boolean {
  return typeof url === 'string' && /^\w+:\/\/[^@/?#]*[/?#][^=]*@/.test(url)
}

// Never the URL itself: it has a password.
function showUrl (url: unknown): string | undefined {
  if (typeof url !== 'string' || url === '') return undefined
  if (/^\s*["'`]/.test(url)) return 'one in quotes'
  const scheme = /^(jdbc:)?[a-z][\w+.-]*:\/\//i.exec(url)?.[0]
  return scheme === undefined ? 'another text' : `one that begins with ${scheme}`
}
