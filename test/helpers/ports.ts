import { once } from 'node:events'
import { createServer } from 'node:net'

// Below the ephemeral ports of Linux, macOS and Windows, so that the kernel assigns none of these to an outgoing connection meanwhile.
const FIRST = 11_000
const FILES = 80
const PER_FILE = 200

// tap numbers the test files, so that concurrent files use different ports.
const first = FIRST + (Number(process.env['TAP_CHILD_ID'] ?? 0) % FILES) * PER_FILE
let next = Math.floor(Math.random() * PER_FILE)

/** An unused port of 127.0.0.1 that no other call gets. */
export async function freePort (): Promise<number> {
  for (let attempt = 0; attempt < PER_FILE; attempt++) {
    const port = first + next++ % PER_FILE
    if (await isFree(port)) return port
  }
  throw new Error(`every port from ${first} to ${first + PER_FILE - 1} is in use`)
}

export async function freePorts (count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) ports.push(await freePort())
  return ports
}

async function isFree (port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
