/** The name of a table as SQL writes it. */
export function quoteTable ({ schema, table }: { schema: string | null, table: string }): string {
  return schema === null ? quoteName(table) : `${quoteName(schema)}.${quoteName(table)}`
}

/** A name as SQL writes it. */
export function quoteName (name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/**
 * A text as SQL writes it, between dollar quotes whose tag the text does not have. Not between single quotes: what a backslash
 * means there depends on `standard_conforming_strings` of the connection that runs a printed statement.
 */
export function quoteText (text: string): string {
  let tag = '$fta'
  for (let n = 1; text.includes(tag); n++) tag = `$fta${n}`
  return `${tag}$${text}${tag}$`
}
