// The same file with every race; `INTERLEAVINGS=all` runs each of them under every default isolation, too.
process.env['INTERLEAVINGS'] ??= 'full'
await import('./interleavings.test.js')
