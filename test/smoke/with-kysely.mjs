// node --import=test/smoke/with-kysely.mjs: replaces the installed kysely with the one that KYSELY names, for the package and the host.
import { register } from 'node:module'

const hooks = `
const name = ${JSON.stringify(process.env.KYSELY ?? 'kysely')}
export async function resolve (specifier, context, nextResolve) {
  const [, entry] = /^kysely(\\/.*)?$/.exec(specifier) === null ? [] : [null, specifier.slice('kysely'.length)]
  return await nextResolve(entry === undefined ? specifier : name + entry, context)
}`
register(`data:text/javascript,${encodeURIComponent(hooks)}`, import.meta.url)
