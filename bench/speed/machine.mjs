// Which core does what, and what was used of it. Without Linux and taskset everything runs unpinned, and what cannot be read is null.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** Linux counts in hundredths of a second, whatever its own ticks are. */
const TICKS_PER_S = 100

/** The last core is the server's, the others are for everything else; `null` if processes cannot be pinned. */
export function splitCores () {
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(readOrNull('/proc/self/status') ?? '')?.[1]
  const cores = (list ?? '').split(',').filter(Boolean).flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })
  if (cores.length < 2 || !canPin()) return null
  return { server: cores.slice(-1), others: cores.slice(0, -1) }
}

function canPin () {
  try {
    execFileSync('taskset', ['-p', String(process.pid)], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Pins a process with all of its threads; those that it creates later are pinned, too. */
export function pin (pid, cores) {
  execFileSync('taskset', ['-acp', cores.join(','), String(pid)], { stdio: 'ignore' })
}

export function describeMachine () {
  return { cpu: cpus()[0].model.trim(), cores: cpus().length, node: process.versions.node }
}

/** CPU seconds of a process since its start. */
export function cpuOf (pid) {
  return readStat(pid)?.ownS ?? null
}

/** The ids of a process and of those that it has started. */
export function familyOf (pid) {
  return [pid, ...readAll().filter(({ parent }) => parent === pid).map((stat) => stat.pid)]
}

/** CPU seconds of a process and of those that it has started, also of the ended ones. */
export function cpuOfFamily (pid) {
  const all = readAll()
  const self = all.find((stat) => stat.pid === pid)
  if (self === undefined) return null
  return self.endedS + all.filter((stat) => stat === self || stat.parent === pid).reduce((sum, { ownS }) => sum + ownS, 0)
}

/** Whether it is a process of this machine with such a name: a service may run elsewhere. */
export function isLocal (pid, name) {
  return name.test(readOrNull(`/proc/${pid}/comm`) ?? '')
}

export function parentOf (pid) {
  return readStat(pid)?.parent ?? null
}

/** Seconds that these cores were in use since the boot, by this machine or by its host. */
export function busySecondsOf (cores) {
  const lines = (readOrNull('/proc/stat') ?? '').split('\n')
  return cores.reduce((sum, core) => {
    const [user, nice, system, , , irq, softirq, steal] = lines.find((line) => line.startsWith(`cpu${core} `)).split(' ').slice(1).map(Number)
    return sum + (user + nice + system + irq + softirq + steal) / TICKS_PER_S
  }, 0)
}

function readAll () {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(readStat).filter((stat) => stat !== null)
}

function readStat (pid) {
  const text = readOrNull(`/proc/${pid}/stat`)
  if (text === null) return null
  // The name may contain spaces and brackets.
  const [, parent, ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [own, system, ended, endedSystem] = rest.slice(9, 13).map(Number)
  return { pid: Number(pid), parent: Number(parent), ownS: (own + system) / TICKS_PER_S, endedS: (ended + endedSystem) / TICKS_PER_S }
}

function readOrNull (file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}
