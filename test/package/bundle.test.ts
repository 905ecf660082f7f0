import { writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { build } from 'esbuild'
import type { BuildOptions } from 'esbuild'
import t from 'tap'
import type { Test } from 'tap'
import webpack from 'webpack'
import { spawnNode } from '../helpers/cli.js'
import { freshDatabase } from '../helpers/services.js'

const SERVER = `
import Fastify from 'fastify'
import authPlugin from 'fastify-token-auth'
async function start () {
  const app = Fastify()
  const hasher = process.env.OWN_HASHER ? { hash: async (text) => 'own$' + text, verify: async (text, hash) => hash === 'own$' + text, needsRehash: () => false } : undefined
  await app.register(authPlugin, { hasher, database: { connectionString: process.env.DATABASE_URL }, autoMigrate: true, ...JSON.parse(process.env.OPTIONS) })
  const account = { username: 'ann', password: 'correct horse battery' }
  await app.tokenAuth.createUser(account)
  console.log((await app.inject({ method: 'POST', url: '/auth/login', payload: account })).statusCode)
  await app.close()
}
start().catch((error) => { console.error(error.code, error.message); process.exitCode = 1 })
`
const REQUIRE = 'import { createRequire as createRequireOfTheBundle } from "node:module"; const require = createRequireOfTheBundle(import.meta.url);'

const REFUSED = /^FST_TOKEN_AUTH_INVALID_OPTION the verifier of bcrypt hashes needs a file that is not in the bundle: exclude the package from it \(esbuild: --external:fastify-token-auth; webpack: externals; ncc: -e fastify-token-auth\)/m

type Bundle = (source: string, bundle: string) => Promise<unknown>

/** Runs a server that a bundler has bundled. The directory is within the project, where the packages are found that stay outside. */
async function runBundled (t: Test, name: string, bundle: Bundle, environment = {}) {
  const directory = t.testdir({})
  const [source, file] = [join(directory, 'server.mjs'), join(directory, name)]
  await writeFile(source, SERVER)
  await bundle(source, file)
  return await spawnNode(t, [file], { DATABASE_URL: await freshDatabase(t), OPTIONS: '{}', ...environment }).result
}

const esbuild = (more: BuildOptions): Bundle => async (source, outfile) =>
  await build({ entryPoints: [source], outfile, bundle: true, platform: 'node', logLevel: 'silent', external: ['pg-native'], ...more })

const webpacked = (externals: Record<string, string>): Bundle => async (entry, file) => await new Promise((resolve, reject) => {
  const output = { path: dirname(file), filename: basename(file) }
  webpack({ mode: 'development', devtool: false, target: 'node', entry, output, externals, ignoreWarnings: [() => true] }, (error, stats) => {
    const failure = error ?? stats?.compilation.errors[0]
    if (failure == null) resolve(stats)
    else reject(failure)
  })
})

// ncc has no types.
const nccBundle: (entry: string, options: object) => Promise<{ code: string, assets: Record<string, { source: string | Buffer }> }> = (await import('@vercel/ncc' as string)).default
const ncc = (externals: string[]): Bundle => async (source, file) => {
  const { code, assets } = await nccBundle(source, { cache: false, quiet: true, externals })
  for (const [name, asset] of Object.entries(assets)) await writeFile(join(dirname(file), name), asset.source)
  await writeFile(file, code)
}

const [esm, cjs] = [{ format: 'esm' }, { format: 'cjs' }] as const

t.test('a bundled server works where the package stays outside', async (t) => {
  for (const [name, bundle] of [
    ['esbuild.mjs', esbuild({ ...esm, packages: 'external' })], ['esbuild.cjs', esbuild({ ...cjs, packages: 'external' })],
    ['webpack.cjs', webpacked({ 'fastify-token-auth': 'commonjs fastify-token-auth' })], ['ncc.mjs', ncc(['fastify-token-auth'])]
  ] as const) t.match(await runBundled(t, name, bundle), { code: 0, out: '200\n' }, name)
})

t.test('a bundled server refuses to start where a file of the package is missing, and says what to do', async (t) => {
  for (const [name, bundle] of [
    ['esbuild.mjs', esbuild({ ...esm, banner: { js: REQUIRE } })], ['esbuild.cjs', esbuild(cjs)], ['webpack.cjs', webpacked({})], ['ncc.mjs', ncc([])]
  ] as const) {
    const { code, err } = await runBundled(t, name, bundle)
    t.equal(code, 1, name)
    t.match(err, REFUSED, name)
  }
})

t.test('a bundled server with a hasher of its own refuses to start, too: it could not verify stored bcrypt hashes', async (t) => {
  const { code, err } = await runBundled(t, 'esbuild.cjs', esbuild(cjs), { OWN_HASHER: 'yes', OPTIONS: '{"password":{"common":false}}' })
  t.equal(code, 1)
  t.match(err, REFUSED)
})
