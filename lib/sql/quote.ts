/** The quoted name of a table. */
export function quoteTable ({ schema, table }: { schema: string | null, table: string }): string {
  return schema === null ? quoteName(table) : `${quoteName(schema)}.${quoteName(table)}`
}

/** A quoted identifier. */
export function quoteName (name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/**
 * A string literal in dollar quotes, with a tag that the string does not contain. Not in single quotes: the meaning of a backslash
 * there depends on `standard_conforming_strings` of the connection that runs a printed statement.
 */
export function quoteText (text: string): string {
  let tag = '$fta'
  for (let n = 1; text.includes(tag); n++) tag = `$fta${n}`
  return `${tag}$${text}${tag}$`
}
