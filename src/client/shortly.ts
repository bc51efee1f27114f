// What gRPC and the system say of a connection that fails, in words for people.

const CAUSE_LENGTH_MAX = 400;

const known: readonly (readonly [RegExp, string])[] = [
  [/ECONNREFUSED/, 'connection refused'],
  [/ENOTFOUND|EAI_AGAIN|Name resolution failed/, 'no such host'],
  [/EHOSTUNREACH|ENETUNREACH/, 'no way to that host'],
  [/Deadline exceeded|ETIMEDOUT/i, 'no answer'],
  [/ECONNRESET|EPIPE|Protocol error|PROTOCOL_ERROR/, 'something else answers there, or the connection broke'],
];

/** What went wrong, in a few words. */
export function shortly(text: string): string {
  const words = known.find(([pattern]) => pattern.test(text))?.[1];
  return words ?? (text.length > CAUSE_LENGTH_MAX ? `${text.slice(0, CAUSE_LENGTH_MAX - 1)}…` : text);
}
