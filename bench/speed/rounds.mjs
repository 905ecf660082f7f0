// The order of the measurements. The speed of a machine drifts, so each contestant is compared with the bare route shortly before and after it.

/** Contestants between two samples of the bare route. */
const GROUP = 4
/**
 * A group is noisy if other processes used more than `FOREIGN` of a core during a sample, if the bare route differed by more than `DRIFT`,
 * or if a request was refused.
 */
const FOREIGN = 0.05
const DRIFT = 0.1

/**
 * Measures every contestant in each round, in random order, and returns the samples by name, each with its ratio to the bare route.
 * A noisy group is taken again, once, at most `rounds` times in all.
 */
export async function measureRounds ({ names, rounds, sample, onProgress }) {
  const samples = Object.fromEntries(['bare', ...names].map((name) => [name, []]))
  const noise = { groups: 0, again: 0, kept: 0 }
  for (let round = 1; round <= rounds; round++) {
    for (const group of groupsOf(shuffle(names))) {
      onProgress(`round ${round} of ${rounds}: ${group.join(', ')}`)
      let taken = await measureGroup(group, sample)
      noise.groups++
      if (taken.noise !== null && noise.again < rounds) {
        onProgress(`  again: ${taken.noise}`)
        noise.again++
        taken = await measureGroup(group, sample)
      }
      if (taken.noise !== null) noise.kept++
      for (const [name, values] of taken.samples) samples[name].push(values)
    }
  }
  return { samples, noise }
}

async function measureGroup (names, sample) {
  const first = await sample('bare')
  const taken = []
  for (const name of names) taken.push([name, await sample(name)])
  const last = await sample('bare')
  const bare = { rps: (first.rps + last.rps) / 2, serverS: (first.serverS + last.serverS) / 2 }
  const samples = [['bare', first], ...taken, ['bare', last]].map(([name, values]) => [name, { ...values, ...ratiosOf(values, bare) }])
  return { samples, noise: noiseOf(samples.map(([, values]) => values), Math.abs(first.rps - last.rps) / bare.rps) }
}

function ratiosOf ({ rps, serverS }, bare) {
  return { ratio: rps / bare.rps, cpuRatio: serverS === null ? null : serverS / bare.serverS }
}

/** What was noisy; `null` if nothing was. */
function noiseOf (samples, drift) {
  const refused = samples.find((sample) => sample.refused > 0)
  if (refused !== undefined) return `${refused.refused} requests were refused: ${refused.refusal}`
  const foreign = Math.max(...samples.map((sample) => sample.foreign ?? 0))
  if (foreign > FOREIGN) return `other processes used ${percent(foreign)} of a core`
  return drift > DRIFT ? `the bare route differed by ${percent(drift)}` : null
}

function percent (share) {
  return `${Math.round(share * 100)} %`
}

function groupsOf (names) {
  const groups = []
  for (let i = 0; i < names.length; i += GROUP) groups.push(names.slice(i, i + GROUP))
  return groups
}

function shuffle (names) {
  return names.map((name) => ({ name, at: Math.random() })).sort((one, other) => one.at - other.at).map(({ name }) => name)
}
