// The same file with a storm of each mode.
process.env['STORMS'] ??= 'full'
await import('./storm.test.js')
