const MOST_EDITS = 2

/** The known name that a name with a typing error most likely stands for. Case and underscores do not count. */
export function closestTo (name: string, known: Iterable<string>): string | undefined {
  const [closest] = [...known]
    .map((candidate) => ({ candidate, edits: editsBetween(simple(name), simple(candidate)) }))
    .filter(({ edits }) => edits <= MOST_EDITS && edits <= name.length / 2)
    .sort((one, other) => one.edits - other.edits)
  return closest?.candidate
}

function simple (name: string): string {
  return name.toLowerCase().replaceAll('_', '')
}

/** How many letters must be added, removed or replaced (Levenshtein). */
function editsBetween (one: string, other: string): number {
  let row = [...other, ''].map((_, at) => at)
  for (const [above, letter] of [...one].entries()) {
    const next = [above + 1]
    for (const [at, its] of [...other].entries()) next.push(Math.min(row[at]! + Number(letter !== its), row[at + 1]! + 1, next[at]! + 1))
    row = next
  }
  return row.at(-1)!
}
