/** Every value the package exports; the types and the run time are each held to it. */
export const EXPORTS = [
  'PreparedClient',
  'argon2id',
  'authPlugin',
  'authenticate',
  'bcrypt',
  'createPGlitePool',
  'default',
  'errors',
  'haveIBeenPwned',
  'hcaptcha',
  'migrations',
  'recaptcha',
  'recaptchaEnterprise',
  'requireUser',
  'scanningPattern',
  'turnstile'
] as const
