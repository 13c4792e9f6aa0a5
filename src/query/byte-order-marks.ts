/** Keeps byte order marks (U+FEFF) in the texts that DuckDB's bindings read. */

/**
 * Makes `TextDecoder` keep a byte order mark at the start of a text, where it is a character of the text. The default of
 * the Encoding standard is to drop it, and the bindings decode every text by the default. To be called before they are
 * loaded, in a process that does nothing else: it holds for the whole process.
 */
export function keepByteOrderMarks(): void {
  globalThis.TextDecoder = class extends TextDecoder {
    constructor(label?: string, options?: ConstructorParameters<typeof TextDecoder>[1]) {
      super(label, { ignoreBOM: true, ...options })
    }
  }
}
