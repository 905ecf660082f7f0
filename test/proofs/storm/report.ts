import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { say } from '../../helpers/say.js'
import { explain } from './checker.js'
import type { Verdict, Violation } from './checker.js'
import type { Operation } from './history.js'
import type { FailedFault, FaultRecord } from './nemesis.js'

export interface StormReport extends Verdict {
  /** Mode, isolation and seed. */
  name: string
  history: Operation[]
  faults: FaultRecord[]
  failed: FailedFault[]
  stormMs: number
  recoveryMs: number
  boundMs: number
  /** Problems outside the history: a process that ended, or a slow recovery. */
  troubles: string[]
}

function count (names: string[]): string {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].sort().map(([name, times]) => `${name} ${times}`).join(', ')
}

/** The kinds of the faults. A fault whose event never occurred does not count. */
export function kindsOf (faults: FaultRecord[]): Set<string> {
  return new Set(faults.filter(({ strikes }) => strikes !== 0).map(({ name }) => name))
}

/** All problems, each with the name of the storm that reproduces it. */
export function failuresOf ({ name, violations, troubles }: StormReport): string[] {
  const rules = [...new Set(violations.map(({ rule }) => rule))].map((rule) => {
    const [first, ...others] = violations.filter((violation) => violation.rule === rule)
    return `${rule}: ${first!.because}${others.length > 0 ? `, and ${others.length} more` : ''}`
  })
  return [...rules, ...troubles].map((failure) => `${name}: ${failure}`)
}

/** Prints a summary, and every violation with the operations before it. The history of a failed storm is saved to a file. */
export async function publish (report: StormReport): Promise<void> {
  const { name, history, faults, failed, stormMs, recoveryMs, boundMs, violations, maxStalenessMs, staleAccepts, troubles } = report
  const storm = history.filter(({ final }) => final !== true)
  const definite = storm.filter(({ outcome }) => outcome === 'ok' || outcome === 'refused').length
  say(`${name}: ${storm.length} operations in ${(stormMs / 1000).toFixed(1)} s, ${Math.round(100 * definite / storm.length)} % with a definite answer, then ${history.length - storm.length} to look at the result; ` +
    `${faults.length} faults of ${kindsOf(faults).size} kinds, ${failed.length} that could not begin; ${violations.length + troubles.length} violations; ${staleAccepts} stale accepts, the longest by ${Math.round(maxStalenessMs)} ms of ${boundMs} allowed; recovered in ${Math.round(recoveryMs)} ms`)
  say(`  operations: ${count(storm.map(({ kind, outcome }) => `${kind} ${outcome}`))}`)
  say(`  faults: ${count(faults.map(({ name }) => name))}`)
  say(`  struck: ${count(faults.flatMap(({ name, strikes = 0 }) => Array.from({ length: strikes }, () => name)))}`)
  if (failed.length > 0) say(`  could not begin: ${count(failed.map(({ name, reason }) => `${name} (${reason})`))}`)
  if (violations.length > 0) say(`  violations: ${count(violations.map(({ rule }) => rule))}`)
  for (const trouble of troubles) say(`${name}: ${trouble}`)
  for (const violation of firstOfEach(violations)) say(`${name}: ${explain(history, violation)}`)
  if (violations.length + troubles.length === 0) return
  const file = join(await mkdtemp(join(tmpdir(), 'fta-storm-')), `${name.replaceAll(/\W+/g, '-')}.json`)
  await writeFile(file, JSON.stringify({ name, faults, failed, violations, history }))
  say(`the history is in ${file}`)
}

const EXAMPLES = 3

function firstOfEach (violations: Violation[]): Violation[] {
  return violations.filter(({ rule }, index) => violations.slice(0, index).filter((other) => other.rule === rule).length < EXAMPLES)
}
