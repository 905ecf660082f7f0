import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import type { BuildOptions } from 'esbuild'
import t from 'tap'
import type { Test } from 'tap'
import { spawnNode } from '../helpers/cli.js'
import { freshDatabase } from '../helpers/services.js'

const SERVER = `
import Fastify from 'fastify'
import authPlugin from 'fastify-token-auth'
async function start () {
  const app = Fastify()
  await app.register(authPlugin, { database: { connectionString: process.env.DATABASE_URL }, autoMigrate: true, ...JSON.parse(process.env.OPTIONS) })
  const account = { username: 'ann', password: 'correct horse battery' }
  await app.tokenAuth.createUser(account)
  console.log((await app.inject({ method: 'POST', url: '/auth/login', payload: account })).statusCode)
  await app.close()
}
start().catch((error) => { console.error(error.code, error.message); process.exitCode = 1 })
`
const REQUIRE = 'import { createRequire as createRequireOfTheBundle } from "node:module"; const require = createRequireOfTheBundle(import.meta.url);'

/** Runs a server that esbuild has bundled. The directory is within the project, where the packages are found that stay outside. */
async function runBundled (t: Test, more: BuildOptions, options: object = {}) {
  const directory = t.testdir({})
  const [source, bundle] = [join(directory, 'server.mjs'), join(directory, more.format === 'cjs' ? 'bundle.cjs' : 'bundle.mjs')]
  await writeFile(source, SERVER)
  await build({ entryPoints: [source], outfile: bundle, bundle: true, platform: 'node', logLevel: 'silent', external: ['pg-native'], ...more })
  return await spawnNode(t, [bundle], { DATABASE_URL: await freshDatabase(t), OPTIONS: JSON.stringify(options) }).result
}

t.test('a bundled server', async (t) => {
  await t.test('works where the package stays outside', async (t) => {
    for (const format of ['esm', 'cjs'] as const) t.match(await runBundled(t, { format, packages: 'external' }), { code: 0, out: '200\n' }, format)
  })

  await t.test('refuses to start where a file of the package is missing, and says what to do', async (t) => {
    for (const format of ['esm', 'cjs'] as const) {
      const { code, err } = await runBundled(t, { format, ...(format === 'esm' ? { banner: { js: REQUIRE } } : {}) })
      t.equal(code, 1, format)
      t.match(err, /^FST_TOKEN_AUTH_INVALID_OPTION (bcrypt\(\)|password\.common) needs a file that is not in the bundle: exclude the package from it \(esbuild: --external:fastify-token-auth/m)
    }
  })
})
