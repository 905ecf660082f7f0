/** Every value that the package exports. Tests compare the types and the exports at run time with it. */
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
