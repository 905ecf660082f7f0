const AT_ONCE = 50

/** The results of `make(0)` to `make(count - 1)`, of which a few run at once. */
export async function inTurns (count, make) {
  const results = []
  while (results.length < count) {
    const start = results.length
    results.push(...await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - start) }, (_, i) => make(start + i))))
  }
  return results
}

/** The cookies that a client sends after these `Set-Cookie` headers. */
export function cookiesOf (setCookie) {
  return [setCookie].flat().map((line) => line.split(';', 1)[0]).join('; ')
}
