/** What a terminal may take for a command, and what makes text read otherwise than it is (Unicode UTS #55). */
const ESCAPED_CHARACTERS = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

/** Control and bidirectional characters, escaped as in JSON. */
export function escapeControls(text: string): string {
  return text.replace(ESCAPED_CHARACTERS, each => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
