export { openapi } from '../schemas/openapi.js'
