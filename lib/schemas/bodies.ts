import { Type } from '@sinclair/typebox'
import { CLEAN_TEXT } from './common.js'

const password = (description: string) => Type.String({ minLength: 1, maxLength: 1024, pattern: CLEAN_TEXT, description })

const credentials = {
  username: Type.String({ minLength: 1, maxLength: 254, pattern: CLEAN_TEXT }),
  password: password('Compared as it is, to the last space')
}
const strict = { additionalProperties: false }

const captchaToken = Type.String({ minLength: 1, maxLength: 8192, pattern: CLEAN_TEXT, description: 'What the captcha\'s widget gave' })

/** By when a captcha is asked for. */
export const LOGIN_BODIES = {
  never: Type.Object(credentials, strict),
  always: Type.Object({ ...credentials, captchaToken }, strict),
  'after-failures': Type.Object({ ...credentials, captchaToken: Type.Optional(captchaToken) }, strict)
}

export const ChangePasswordBody = Type.Object({
  currentPassword: password('The password that is in force'),
  newPassword: password('The one to set')
}, strict)
