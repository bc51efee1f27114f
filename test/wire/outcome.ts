// What a decoder makes of bytes, comparable between two of them.

/** What was decoded; `refused` for whatever it throws. */
export function outcome(decode: () => unknown): unknown {
  try {
    return decode();
  } catch {
    return 'refused';
  }
}
