import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import t from 'tap'
import { authPlugin } from '../../lib/index.js'
import { createUser, PASSWORD, testOptions } from '../helpers/app.js'
import { freshDatabase } from '../helpers/services.js'

// In the repository, so that the imports find their packages.
const directory = resolve('.build/client')

const CLIENT = `import createClient from 'openapi-fetch'
import type { components, paths } from './api.js'

const [, , baseUrl, username, password] = process.argv as [string, string, string, string, string]
const client = createClient<paths>({ baseUrl })

const refused = await client.POST('/auth/login', { body: { username, password: 'wrong' } })
const error: components['schemas']['TokenAuthError'] = refused.error!
console.log(refused.response.status, error.code)

const { data } = await client.POST('/auth/login', { body: { username, password } })
const grant: components['schemas']['TokenAuthGrant'] = data!
const headers = { authorization: \`Bearer \${grant.token}\` }
const me = await client.GET('/auth/me', { headers })
console.log(me.response.status, me.data!.user.username)
const sessions = await client.GET('/auth/sessions', { headers })
console.log(sessions.response.status, sessions.data!.sessions.map(({ current, scopes }) => \`\${current} \${scopes}\`).join())
const deleted = await client.DELETE('/auth/sessions/{id}', { headers, params: { path: { id: sessions.data!.sessions[0]!.id } } })
console.log(deleted.response.status)
`

function run (args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: directory, encoding: 'utf8' })
  t.equal(status, 0, `${args[0]} ${stdout}${stderr}`)
  return stdout
}

t.test('a client generated with openapi-typescript logs in', async (t) => {
  for (const openapi of ['3.0.3', '3.1.0']) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(swagger, { openapi: { openapi } })
    await app.register(authPlugin, testOptions(await freshDatabase(t)))
    const { username } = await createUser(app)
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'openapi.json'), JSON.stringify(app.swagger()))
    writeFileSync(join(directory, 'client.ts'), CLIENT)
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions: { strict: true, noUncheckedIndexedAccess: true, module: 'nodenext', target: 'es2022', lib: ['es2023', 'dom', 'dom.iterable'], types: ['node'] } }))
    run([resolve('node_modules/openapi-typescript/bin/cli.js'), 'openapi.json', '-o', 'api.ts'])
    run([resolve('node_modules/typescript/bin/tsc')])
    const client = spawn(process.execPath, ['client.js', url, username, PASSWORD], { cwd: directory })
    let out = ''
    for await (const chunk of client.stdout) out += chunk
    t.same(out.trim().split('\n'), ['401 FST_TOKEN_AUTH_INVALID_CREDENTIALS', `200 ${username}`, '200 true null', '204'], openapi)
  }
})
