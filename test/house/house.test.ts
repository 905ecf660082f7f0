import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../..', import.meta.url))
const WORDS = ['types', 'lib/errors.ts']
const TOOLS = [...WORDS, 'lib/tokens', 'lib/passwords', 'lib/concurrency', 'lib/options/rules.ts']

interface House { may: string[], asTypes?: string[], vendors?: string[] }

/** Who may import what: the layers of CONTRIBUTING.md. A folder may import itself; who is not here, everything. */
const HOUSES: Record<string, House> = {
  types: { may: [], asTypes: ['fastify', 'kysely', 'pg', 'ioredis'] },
  'lib/errors.ts': { may: ['types'], vendors: ['@fastify/error'] },
  'lib/tokens': { may: WORDS, vendors: ['node:crypto', 'node:zlib'] },
  'lib/outbound': { may: [...WORDS, 'lib/concurrency'], vendors: ['node:*'] },
  'lib/passwords': { may: [...WORDS, 'lib/concurrency', 'lib/outbound', 'lib/options/rules.ts'], vendors: ['node:*', 'bcryptjs', '@node-rs/argon2', 'piscina'] },
  'lib/concurrency': { may: WORDS, vendors: ['node:*'] },
  'lib/options/rules.ts': { may: WORDS, vendors: ['@lukeed/ms'] },
  'lib/stores': { may: TOOLS, vendors: ['node:*', 'kysely', 'pg', 'ioredis', 'lru-cache'] },
  'lib/testing': { may: [...TOOLS, 'lib/stores'], vendors: ['node:*'] },
  'lib/captcha': { may: [...TOOLS, 'lib/outbound'], vendors: ['node:*'] },
  'lib/services': { may: TOOLS, vendors: ['node:*'] },
  'lib/schemas': { may: WORDS, vendors: ['@sinclair/typebox'] },
  'lib/hooks': { may: [...WORDS, 'lib/schemas'], vendors: ['node:*', 'fastify', '@fastify/rate-limit', 'ajv'] },
  'lib/routes': { may: [...WORDS, 'lib/schemas', 'lib/hooks'], asTypes: ['lib/services'], vendors: ['node:*', 'fastify', '@sinclair/typebox'] }
}

/** Entry points: they run when they are imported, so the tests that start them as processes load them. */
const STARTED = ['lib/cli/main.ts']
const LINES = 200
const IMPORT = /(?:^|\n)\s*(?:import|export)\s+(type\s)?[\w\s*{},]*?from\s+'([^']+)'|(?:^|\n)\s*import\s+()'([^']+)'|\bimport\(()'([^']+)'\)/g

interface Edge { from: string, to: string, isType: boolean }

async function list (folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { recursive: true })
  return entries.filter((name) => name.endsWith('.ts')).map((name) => join(folder, name)).sort()
}

function edgesOf (from: string, source: string): Edge[] {
  return [...source.matchAll(IMPORT)].map((match) => {
    const name = (match[2] ?? match[4] ?? match[6]) as string
    const to = name.startsWith('.') ? join(dirname(from), name).replace(/\.js$/, '.ts') : name
    return { from, to, isType: match[1] !== undefined }
  })
}

function houseOf (file: string): string {
  return Object.keys(HOUSES).find((name) => file === name || file.startsWith(`${name}/`)) ?? 'the wiring'
}

function isAllowed ({ from, to, isType }: Edge): boolean {
  const home = houseOf(from)
  const house = HOUSES[home]
  if (house === undefined) return true
  const isOurs = /^(lib|types)\//.test(to)
  const name = isOurs ? houseOf(to) : to.replace(/^node:.*/, 'node:*')
  const mayAsType = isType && (house.asTypes ?? []).includes(isOurs ? name : to)
  if (isOurs) return name === home || house.may.includes(name) || mayAsType
  return mayAsType || (house.vendors ?? []).some((vendor) => vendor === name || vendor === to || to.startsWith(`${vendor}/`))
}

const files = [...await list('lib'), ...await list('types')]
const sources = await Promise.all(files.map(async (file): Promise<[string, string]> => [file, await readFile(join(root, file), 'utf8')]))
const edges = sources.flatMap(([file, source]) => edgesOf(file, source))

t.test('nothing imports upward, sideways, or a vendor of another layer', async (t) => {
  t.ok(edges.length > 200, 'the imports are found')
  t.same(edges.filter((edge) => !isAllowed(edge)).map(({ from, to }) => `${from} -> ${to}`), [])
})

t.test('a store speaks to one vendor', async (t) => {
  const vendors = ['kysely', 'ioredis', 'lru-cache']
  for (const file of files.filter((file) => file.startsWith('lib/stores/'))) {
    const spoken = new Set(edges.filter(({ from }) => from === file).map(({ to }) => to === 'pg' ? 'kysely' : to))
    t.ok(vendors.filter((vendor) => spoken.has(vendor)).length <= 1, file)
  }
})

t.test(`no file has more than ${LINES} lines`, async (t) => {
  const long = sources.map(([file, source]) => [file, source.split('\n').length - 1] as const).filter(([, lines]) => lines > LINES)
  t.same(long, [])
})

t.test('every file can be loaded, so that coverage sees those that no test uses', async (t) => {
  for (const file of files.filter((file) => file.startsWith('lib/') && !STARTED.includes(file))) {
    await t.resolves(import(`../../${file.replace(/\.ts$/, '.js')}`), file)
  }
})
