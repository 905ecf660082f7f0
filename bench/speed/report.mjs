import { median } from '../common.mjs'
import { readContestants, TARGETS } from './contestants.mjs'

/** A row for each contestant, the fastest first: medians of its samples, and the range of its ratio. */
export function rowsOf (samples) {
  const rows = readContestants(Object.keys(samples)).map(({ name, title }) => {
    const of = (field) => samples[name].map((sample) => sample[field])
    const middle = (field) => of(field).includes(null) ? null : median(of(field))
    const fields = ['rps', 'ratio', 'p50Ms', 'p99Ms', 'serverS', 'cpuRatio', 'redisS', 'postgresS', 'busy']
    const refused = of('refused').reduce((sum, each) => sum + each, 0)
    return { name, title, refused, ...Object.fromEntries(fields.map((field) => [field, middle(field)])), min: Math.min(...of('ratio')), max: Math.max(...of('ratio')) }
  })
  return rows.sort((one, other) => other.ratio - one.ratio)
}

const COLUMNS = [
  ['requests/s', ({ rps }) => Math.round(rps).toLocaleString('en-US')],
  ['of bare (range)', ({ ratio, min, max }) => `${fixed(ratio, 2)} (${fixed(min, 2)} to ${fixed(max, 2)})`],
  ['p50 ms', ({ p50Ms }) => fixed(p50Ms, 2)],
  ['p99 ms', ({ p99Ms }) => fixed(p99Ms, 1)],
  ['server CPU (of bare)', ({ serverS, cpuRatio }) => `${fixed(serverS, 3)} (${fixed(cpuRatio, 2)})`],
  ['Redis CPU', ({ redisS }) => fixed(redisS, 3)],
  ['PostgreSQL CPU', ({ postgresS }) => fixed(postgresS, 3)],
  ['core busy', ({ busy }) => busy === null ? '-' : `${fixed(busy * 100, 0)} %`]
]

export function printRows (rows, about) {
  console.log(`\n${describe(rows, about)}\n`)
  console.table(Object.fromEntries(rows.map((row) => [row.title, Object.fromEntries(COLUMNS.map(([title, show]) => [title, show(row)]))])))
  for (const line of targetsOf(rows)) console.log(line.join(': '))
}

/** The same in Markdown. */
export function tableOf (rows, about) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  const table = [
    line(['', ...COLUMNS.map(([title]) => title)]),
    `|---|${COLUMNS.map(() => '---:|').join('')}`,
    ...rows.map((row) => line([row.title, ...COLUMNS.map(([, show]) => show(row))]))
  ]
  const targets = [line(['target', 'in this run']), '|---|---|', ...targetsOf(rows).map(line)]
  return [describe(rows, about), '', ...table, '', ...targets].join('\n')
}

function targetsOf (rows) {
  const ratioOf = (name) => rows.find((row) => row.name === name).ratio
  return TARGETS.filter(({ of }) => of.every((name) => rows.some((row) => row.name === name)))
    .map(({ text, isMet }) => [text, isMet(ratioOf) ? 'met' : 'missed'])
}

/** What was measured where and how, in lines that fit the page. */
function describe (rows, { machine, noise, date, rounds, seconds, connections, tokens }) {
  const { cpu, cores, node, redis, postgres, isPinned } = machine
  return [
    `${date}: ${cpu}, ${cores} cores, Node.js ${node}, Redis ${redis}, PostgreSQL ${postgres}.`,
    `Rounds: ${rounds}, with samples of ${seconds} s, ${connections} connections, ${tokens.toLocaleString('en-US')} tokens, ${isPinned ? 'the server had a core for itself' : 'nothing was pinned to a core'}.`,
    `Noisy groups of samples: ${noise.again} of ${noise.groups} were taken again, and ${noise.kept} were kept although they were noisy.`,
    `Requests that were refused: ${rows.map(({ title, refused }) => refused > 0 && `${refused} of ${title}`).filter(Boolean).join(', ') || 'none'}.`,
    ...noise.kept > noise.groups / 2 ? ['**The machine was busy: most samples are noisy, and these figures say little.**'] : []
  ].join('\n')
}

function fixed (value, digits) {
  return value === null ? '-' : value.toFixed(digits)
}
