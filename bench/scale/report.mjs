const MIB = 1024 * 1024
const OPERATIONS = {
  hit: 'hit: a token that Redis has',
  miss: 'miss: a token that is in no cache',
  login: 'login, with bcrypt at its lowest cost',
  'logout-all': 'logout-all, of 11 sessions',
  prune: 'prune, a batch of 1,000 rows',
  'prune-nothing': 'prune, the last batch, which finds no row'
}

export function printAll (all) {
  console.log(`\n${describe(all)}\n`)
  for (const { title, rows } of tablesOf(all)) {
    console.log(title)
    console.table(Object.fromEntries(rows.map(([name, ...cells]) => [name, Object.fromEntries(all.sizes.map(({ size }, i) => [count(size), cells[i]]))])))
  }
  for (const line of sentencesOf(all)) console.log(line)
}

/** The same in Markdown. */
export function textOf (all) {
  const tables = tablesOf(all).map(({ title, rows }) => [
    `| ${title} | ${all.sizes.map(({ size }) => count(size)).join(' | ')} |`,
    `|---|${all.sizes.map(() => '---:|').join('')}`,
    ...rows.map((cells) => `| ${cells.join(' | ')} |`)
  ].join('\n'))
  return [describe(all), ...tables, sentencesOf(all).join('\n')].join('\n\n')
}

function tablesOf ({ sizes }) {
  const operations = Object.entries(OPERATIONS).map(([name, title]) => [title, ...sizes.map(({ costs }) => costOf(costs[name]))])
  const relations = sizes[0].relations.map(({ name, isTable }, i) => {
    return [`${isTable ? 'table' : 'index'} \`${name}\``, ...sizes.map((each) => sizeOf(each.relations[i], each.size))]
  })
  const total = ['together', ...sizes.map(({ relations, size }) => sizeOf({ bytes: relations.reduce((sum, { bytes }) => sum + bytes, 0) }, size))]
  return [
    { title: 'ms (p99; CPU ms of all processes)', rows: operations },
    { title: 'MiB (bytes for each session)', rows: [...relations, total] }
  ]
}

function costOf ({ ms, p99Ms, cpuMs }) {
  return `${ms.toFixed(2)} (${p99Ms.toFixed(2)}; ${cpuMs.toFixed(2)})`
}

function sizeOf ({ bytes }, size) {
  return `${(bytes / MIB).toFixed(1)} (${Math.round(bytes / size)})`
}

function sentencesOf ({ sizes, processes }) {
  const { memory } = sizes.at(-1)
  const { one, two, gain, gains, cores, hasCores } = processes
  const warning = hasCores ? [] : [`The machine has ${cores} cores, which the servers shared with the load generator, Redis and PostgreSQL.`, 'So the factor says little about a machine with a core for each.']
  return [
    `Redis: ${Math.round(memory.keyBytes)} bytes for each cached token by \`MEMORY USAGE\`, ${Math.round(memory.grownBytes)} by the growth of \`used_memory\` (${count(memory.keys)} tokens).`,
    `One server process: ${count(one)} requests/s. Two on one port: ${count(two)}, ${gain.toFixed(2)} times as many (${gains.map((each) => each.toFixed(2)).join(', ')}).`,
    ...warning
  ]
}

function describe ({ machine: { cpu, cores, node, redis, postgres }, date }) {
  return `${date}: ${cpu}, ${cores} cores, Node.js ${node}, Redis ${redis}, PostgreSQL ${postgres}.`
}

function count (number) {
  return Math.round(number).toLocaleString('en-US')
}
