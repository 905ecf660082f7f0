/** Every value the package exports; the types and the run time are each held to it. */
export const EXPORTS = [
  'PreparedClient',
  'authPlugin',
  'bcrypt',
  'createPGlitePool',
  'default',
  'errors',
  'migrations',
  'recaptcha',
  'scanningPattern'
] as const
