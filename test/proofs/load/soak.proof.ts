// The same file with more requests.
process.env['SOAK_REQUESTS'] ??= '60000'
await import('./soak.test.js')
