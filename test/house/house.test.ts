import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'

const WORDS = ['types', 'lib/errors.ts', 'lib/ports.ts']
const TOOLS = [...WORDS, 'lib/tools', 'lib/crypto', 'lib/options/rules.ts']
const DATA = ['node:*', 'kysely', 'pg', 'ioredis', 'lru-cache']
/** An `index.ts` composes its part from the options and from other parts, which it gets as arguments. */
const DOOR = ['lib/options/read.ts']
/** What the services count failures with. */
const COUNTERS = ['lib/throttle/failure-counters.ts']

interface House { may: string[], asTypes?: string[], vendors?: string[] }

/** What each folder may import: the layers of CONTRIBUTING.md. A folder may import itself. A folder that is not listed may import nothing. */
const HOUSES: Record<string, House> = {
  types: { may: [], asTypes: ['fastify', 'kysely', 'pg', 'ioredis'] },
  'lib/errors.ts': { may: ['types'], vendors: ['@fastify/error'] },
  'lib/ports.ts': { may: ['types'] },
  'lib/options/rules.ts': { may: WORDS, vendors: ['@lukeed/ms'] },
  'lib/options/handles.ts': { may: [...WORDS, 'lib/options/rules.ts'], asTypes: DATA },
  'lib/tools': { may: WORDS, vendors: ['node:*', '@fastify/rate-limit'] },
  'lib/crypto': { may: [...WORDS, 'lib/tools'], vendors: ['node:*'] },
  'lib/passwords': { may: TOOLS, vendors: ['node:*', 'bcryptjs', '@node-rs/argon2', 'piscina'] },
  'lib/captcha': { may: TOOLS, vendors: ['node:*'] },
  'lib/redis': { may: [...TOOLS, 'lib/options/handles.ts'], vendors: DATA },
  'lib/sql/index.ts': { may: [...TOOLS, 'lib/sql'], asTypes: DOOR, vendors: DATA },
  'lib/sql': { may: [...TOOLS, 'lib/options/handles.ts'], asTypes: ['lib/options/table-map.ts'], vendors: DATA },
  'lib/cache/index.ts': { may: [...TOOLS, 'lib/cache', 'lib/redis'], asTypes: [...DOOR, 'lib/sql/index.ts'], vendors: DATA },
  'lib/cache': { may: [...TOOLS, 'lib/redis'], vendors: DATA },
  'lib/throttle/index.ts': { may: [...TOOLS, 'lib/throttle'], asTypes: [...DOOR, 'lib/redis'], vendors: DATA },
  'lib/throttle': { may: [...TOOLS, 'lib/redis'], vendors: DATA },
  'lib/services/index.ts': { may: [...TOOLS, 'lib/services', 'lib/passwords', 'lib/schemas'], asTypes: [...DOOR, 'lib/cache/index.ts', 'lib/sql/index.ts', ...COUNTERS], vendors: ['node:*'] },
  'lib/services': { may: [...TOOLS, 'lib/schemas'], asTypes: ['lib/passwords', ...COUNTERS], vendors: ['node:*'] },
  'lib/schemas': { may: WORDS, vendors: ['@sinclair/typebox'] },
  'lib/hooks': { may: [...TOOLS, 'lib/schemas'], vendors: ['node:*', 'fastify', '@fastify/rate-limit', 'ajv'] },
  'lib/routes': { may: [...TOOLS, 'lib/schemas', 'lib/hooks'], asTypes: ['lib/services'], vendors: ['node:*', 'fastify', '@sinclair/typebox'] },
  'lib/testing': { may: [...TOOLS, 'lib/cache'], vendors: ['node:*'] }
}

/** The composition: it may import everything. */
const WIRING = ['lib/plugin.ts', 'lib/index.ts', 'lib/migrations.ts', 'lib/options', 'lib/cli']

/** Entry points, which run when they are imported. Tests load them by starting them as processes. */
const STARTED = ['lib/cli/main.ts']
const LINES = 200
const IMPORTS = 25
const IMPORT = /(?:^|\n)\s*(?:import|export)\s+(type\s)?[\w\s*{},]*?from\s+'([^']+)'|(?:^|\n)\s*import\s+()'([^']+)'|\bimport\(()'([^']+)'\)/g

interface Edge { from: string, to: string, isType: boolean }

async function list (folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true })
  return entries.filter((name) => name.endsWith('.ts')).map((name) => join(folder, name)).sort()
}

function edgesOf (from: string, source: string): Edge[] {
  return [...source.matchAll(IMPORT)].map((match) => {
    const name = (match[2] ?? match[4] ?? match[6]) as string
    const to = name.startsWith('.') ? join(dirname(from), name).replace(/\.js$/, '.ts') : name
    return { from, to, isType: match[1] !== undefined }
  })
}

/** The folder or file in the table that a file belongs to: the longest matching name. */
function houseOf (file: string): string | undefined {
  const fits = (name: string) => file === name || file.startsWith(`${name}/`)
  return Object.keys(HOUSES).filter(fits).sort((a, b) => b.length - a.length)[0] ?? WIRING.find(fits)
}

function isAllowed ({ from, to, isType }: Edge): boolean {
  const home = houseOf(from)
  if (home === undefined) return false
  const house = HOUSES[home]
  if (house === undefined) return true
  if (!/^(lib|types)\//.test(to)) return isVendor(to, house.vendors ?? []) || (isType && isVendor(to, house.asTypes ?? []))
  const names = [to, houseOf(to), folderOf(to)]
  return names.some((name) => name === home || house.may.includes(String(name)) || (isType && house.asTypes?.includes(String(name)) === true))
}

function folderOf (file: string): string {
  return file.split('/').slice(0, 2).join('/')
}

function isVendor (name: string, vendors: string[]): boolean {
  return vendors.some((vendor) => vendor === name.replace(/^node:.*/, 'node:*') || name === vendor || name.startsWith(`${vendor}/`))
}

const files = [...await list('lib'), ...await list('types')]
const sources = await Promise.all(files.map(async (file): Promise<[string, string]> => [file, await readFile(file, 'utf8')]))
const edges = sources.flatMap(([file, source]) => edgesOf(file, source))

t.test('nothing imports upward, sideways, or a vendor of another layer', async (t) => {
  t.ok(edges.length > 200, 'the imports are found')
  t.same(edges.filter((edge) => !isAllowed(edge)).map(({ from, to }) => `${from} -> ${to}`), [])
})

t.test('every file is in a folder of the table', async (t) => {
  t.same(files.filter((file) => houseOf(file) === undefined), [])
})

t.test('an adapter uses at most one vendor', async (t) => {
  const vendors = ['kysely', 'ioredis', 'lru-cache']
  for (const file of files.filter((file) => /^lib\/(sql|cache|redis|throttle)\//.test(file))) {
    const spoken = new Set(edges.filter(({ from }) => from === file).map(({ to }) => to === 'pg' ? 'kysely' : to))
    t.ok(vendors.filter((vendor) => spoken.has(vendor)).length <= 1, file)
  }
})

t.test(`no file imports more than ${IMPORTS} others`, async (t) => {
  const importsOf = (file: string) => new Set(edges.filter(({ from }) => from === file).map(({ to }) => to)).size
  t.same(files.filter((file) => importsOf(file) > IMPORTS), [])
})

t.test('there are no circular imports', async (t) => {
  t.same(findCircle(), null)
})

/** The files of one import cycle, or `null`, found by a depth-first search. */
function findCircle (): string[] | null {
  const done = new Set<string>()
  function walk (file: string, path: string[]): string[] | null {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return null
    for (const { to } of edges.filter(({ from }) => from === file)) {
      const circle = walk(to, [...path, file])
      if (circle !== null) return circle
    }
    done.add(file)
    return null
  }
  for (const file of files) {
    const circle = walk(file, [])
    if (circle !== null) return circle
  }
  return null
}

t.test(`no file has more than ${LINES} lines`, async (t) => {
  const long = sources.map(([file, source]) => [file, source.split('\n').length - 1] as const).filter(([, lines]) => lines > LINES)
  t.same(long, [])
})

t.test('every file can be loaded, so that coverage includes files that no test uses', async (t) => {
  for (const file of files.filter((file) => file.startsWith('lib/') && !STARTED.includes(file))) {
    await t.resolves(import(`../../${file.replace(/\.ts$/, '.js')}`), file)
  }
})
