/** A logger that discards everything. */
export const SILENT = { info () {}, warn () {}, error () {} }
