import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { say } from '../../helpers/say.js'
import { explain } from './checker.js'
import type { Verdict } from './checker.js'
import type { Operation } from './history.js'
import type { FailedFault, FaultRecord } from './nemesis.js'

export interface StormReport extends Verdict {
  mode: string
  seed: number
  history: Operation[]
  faults: FaultRecord[]
  failed: FailedFault[]
  stormMs: number
  recoveryMs: number
  boundMs: number
  /** What is wrong beyond the history: a process that ended, a recovery too slow. */
  troubles: string[]
}

function count (names: string[]): string {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].sort().map(([name, times]) => `${name} ${times}`).join(', ')
}

/** Of how many kinds the faults were. */
export function kindsOf (faults: FaultRecord[]): number {
  return new Set(faults.map(({ name }) => name)).size
}

/** Prints what happened, and every violation with what led to it. Of a storm with violations the history is kept as a file. */
export async function publish (report: StormReport): Promise<void> {
  const { mode, seed, history, faults, failed, stormMs, recoveryMs, boundMs, violations, maxStalenessMs, staleAccepts, troubles } = report
  const storm = history.filter(({ final }) => final !== true)
  say(`${mode}, seed ${seed}: ${storm.length} operations in ${(stormMs / 1000).toFixed(1)} s, then ${history.length - storm.length} to look at the result; ` +
    `${faults.length} faults of ${kindsOf(faults)} kinds, ${failed.length} that could not begin; ${violations.length + troubles.length} violations; ${staleAccepts} stale accepts, the longest by ${Math.round(maxStalenessMs)} ms of ${boundMs} allowed; recovered in ${Math.round(recoveryMs)} ms`)
  say(`  operations: ${count(storm.map(({ kind, outcome }) => `${kind} ${outcome}`))}`)
  say(`  faults: ${count(faults.map(({ name }) => name))}`)
  if (failed.length > 0) say(`  could not begin: ${count(failed.map(({ name, reason }) => `${name} (${reason})`))}`)
  for (const trouble of troubles) say(trouble)
  for (const violation of violations.slice(0, 5)) say(explain(history, violation))
  if (violations.length === 0) return
  const file = join(await mkdtemp(join(tmpdir(), 'fta-storm-')), `${mode}-${seed}.json`)
  await writeFile(file, JSON.stringify({ mode, seed, faults, failed, violations, history }))
  say(`the history is in ${file}`)
}
