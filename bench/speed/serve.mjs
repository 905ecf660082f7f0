// A contestant's process: serves it, and tells the bench its port and the headers of its clients.
import { readContestants } from './contestants.mjs'

const { name, tokens } = JSON.parse(process.argv[2])
const { server, options } = readContestants([name])[0]
const { start } = await import(`./servers/${server}.mjs`)
const { app, headers, forget } = await start({ ...options, name, tokens })

await app.listen({ port: 0, host: '127.0.0.1' })
// A process of its own dies with the bench, whatever it has open.
process.once('disconnect', () => process.exit())
process.on('message', async () => {
  await forget?.()
  process.send('forgotten')
})
process.send({ port: app.server.address().port, headers })
