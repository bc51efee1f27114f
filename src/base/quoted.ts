// Text from outside within a message of ours.

/** Characters of it that are shown. */
const CHARACTERS_MAX = 80;

/** The text in quotes, with its control characters escaped; of a long one the beginning. */
export function quoted(text: string): string {
  return text.length <= CHARACTERS_MAX ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, CHARACTERS_MAX))}…`;
}
