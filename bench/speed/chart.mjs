// Draws the ratios as horizontal bars, each with the range of its samples.

const WIDTH = 820
const LEFT = 300
const RIGHT = 140
const TOP = 64
const BAR = 20
const STEP = 32

const STYLE = `
    .page { fill: #ffffff } .text { fill: #1f2328 } .quiet { fill: #59636e } .line { stroke: #d1d9e0 } .range { stroke: #1f2328 }
    .ours { fill: #0969da } .other { fill: #9aa4af }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .text { fill: #f0f6fc } .quiet { fill: #9198a1 } .line { stroke: #3d444d } .range { stroke: #f0f6fc }
      .ours { fill: #4493f8 } .other { fill: #656c76 }
    }
    text { font: 13px system-ui, sans-serif } .title { font-size: 16px; font-weight: 600 }
  `

/** An SVG file that is readable on a light and on a dark page, and by a screen reader. */
export function drawChart (rows, { machine, date }) {
  const end = Math.max(1, ...rows.map(({ max }) => max))
  const x = (ratio) => Math.round(LEFT + ratio / end * (WIDTH - LEFT - RIGHT))
  const bottom = TOP + rows.length * STEP
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 40}" role="img" aria-labelledby="title desc">
  <title id="title">Requests per second, compared with a route without authentication</title>
  <desc id="desc">${escape(rows.map(({ title, ratio }) => `${plain(title)}: ${ratio.toFixed(2)}`).join('; '))}.</desc>
  <style>${STYLE}</style>
  <rect class="page" width="100%" height="100%" />
  <text class="text title" x="16" y="26">Requests per second, compared with a route without authentication</text>
  <text class="quiet" x="16" y="46">The bare route is 1. The thin line is the range of the samples.</text>
${[0, 0.25, 0.5, 0.75, 1].map((ratio) => grid(x(ratio), ratio, bottom)).join('\n')}
${rows.map((row, i) => bar(row, TOP + i * STEP, x)).join('\n')}
  <text class="quiet" x="16" y="${bottom + 30}">${escape(`${date}, ${machine.cpu}, Node.js ${machine.node}, Redis ${machine.redis}, PostgreSQL ${machine.postgres}`)}</text>
</svg>
`
}

function grid (x, ratio, bottom) {
  return `  <line class="line" x1="${x}" x2="${x}" y1="${TOP - 6}" y2="${bottom}" /><text class="quiet" x="${x}" y="${bottom + 12}" text-anchor="middle">${ratio}</text>`
}

function bar ({ title, ratio, min, max }, y, x) {
  const middle = y + BAR / 2
  const kind = title.startsWith('fastify-token-auth') ? 'ours' : 'other'
  return `  <text class="text" x="${LEFT - 10}" y="${middle + 5}" text-anchor="end">${escape(plain(title))}</text>
  <rect class="${kind}" x="${LEFT}" y="${y}" width="${x(ratio) - LEFT}" height="${BAR}" rx="2" />
  <line class="range" x1="${x(min)}" x2="${x(max)}" y1="${middle}" y2="${middle}" />
  <text class="text" x="${x(max) + 8}" y="${middle + 5}">${ratio.toFixed(2)}</text>`
}

function plain (title) {
  return title.replaceAll('`', '')
}

function escape (text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
