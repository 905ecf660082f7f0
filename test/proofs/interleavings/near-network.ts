import type { Channel, ChannelListener } from '../../../lib/tools/channel.js'
import type { Wrap } from '../../../lib/testing/index.js'

/** Where a server is connected to: messages reach only those that are connected to the same Redis. */
export interface Connected {
  name: string
  id: string
  place: number
}

interface Inbox {
  listener: ChannelListener
  /** The Redis that it is subscribed at. `null`: at none. */
  at: number | null
  messages: string[]
}

/** Messages are kept in memory, and each arrival is a step. */
export type Network = ReturnType<typeof createNetwork>

export interface NetworkSettings {
  /** Whether a server receives its own messages in steps, too. Otherwise those to itself arrive at once, and those to all do not reach it. */
  hasEchoes: boolean
  maxLength: number
}

export function createNetwork (wrap: Wrap, { hasEchoes, maxLength }: NetworkSettings) {
  const servers = new Map<string, Connected & { inbox: Inbox | null }>()
  const inboxOf = (name: string) => servers.get(name)?.inbox ?? null
  const isSettingUp = { value: true }

  function post (from: Connected, to: string | null, text: string): void {
    for (const { id, inbox } of servers.values()) {
      const isFor = to === null ? hasEchoes || id !== from.id : id === to
      if (isFor && inbox !== null && inbox.at === from.place) inbox.messages.push(text)
    }
  }

  function lose (name: string): void {
    const inbox = inboxOf(name)
    if (inbox === null || inbox.at === null) return
    inbox.at = null
    inbox.messages = []
    inbox.listener.onDown()
  }

  const wire = wrap('wire', {
    publish: async (from: Connected, to: string | null, text: string) => post(from, to, text),
    deliver: async (name: string) => {
      const { messages, listener } = inboxOf(name)!
      listener.onMessage(messages.shift()!)
    },
    subscribe: async (name: string) => connect(name),
    /** Ends the subscription. */
    cut: async (name: string) => lose(name)
  }, {
    when: {
      deliver: (name) => (inboxOf(name)?.messages.length ?? 0) > 0,
      subscribe: (name) => inboxOf(name)?.at === null
    }
  })

  function connect (name: string): void {
    const { inbox, place } = servers.get(name)!
    inbox!.at = place
    inbox!.listener.onUp()
  }

  return {
    wire,
    lose,
    /** Connections are a step from now on. */
    begin () { isSettingUp.value = false },
    channelOf (self: Connected): Channel {
      const server = Object.assign(self, { inbox: null as Inbox | null })
      servers.set(self.name, server)
      return {
        maxLength,
        open (listener) {
          if (server.inbox !== null) return
          server.inbox = { listener, at: null, messages: [] }
          if (isSettingUp.value) connect(self.name)
        },
        async send (to, text) {
          if (to !== self.id || (hasEchoes && !isSettingUp.value)) return await wire.publish(self, to, text)
          if (server.inbox!.at === self.place) server.inbox!.listener.onMessage(text)
        },
        renew () { lose(self.name) },
        async close () { lose(self.name) }
      }
    }
  }
}
