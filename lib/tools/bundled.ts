import { INVALID_OPTION } from '../errors.js'

/** Exists in a bundle of webpack, which writes the place on the building machine for `import.meta.url`. */
// eslint-disable-next-line camelcase -- webpack gives the name
declare const __webpack_require__: unknown

// In a bundle it is the bundle's own place, and in one of CommonJS it is undefined.
// eslint-disable-next-line camelcase -- webpack gives the name
const isBundled = typeof __webpack_require__ !== 'undefined' || !/\/lib\/tools\/bundled\.[jt]s$/.test(String(import.meta.url))

/** Refuses a part of the package that reads another file, if a bundler has left that out. @throws `FST_TOKEN_AUTH_INVALID_OPTION` */
export function refuseBundle (part: string, bundled = isBundled): void {
  if (!bundled) return
  throw new INVALID_OPTION(`${part} needs a file that is not in the bundle: exclude the package from it (esbuild: --external:fastify-token-auth; webpack: externals; ncc: -e fastify-token-auth), and install it beside the bundle`)
}
