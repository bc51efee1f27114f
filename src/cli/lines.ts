// Lines of a byte stream, whatever the bytes are.
import type { Readable } from 'node:stream';
import { TLedgerError } from '../base/errors.ts';
import { messageLimits } from '../format/limits.ts';

const NEWLINE = 0x0a;

/**
 * The lines of `stream`, without their newline unless it is to be kept; a last line without one counts. Reads no further
 * ahead than one chunk. Ends early, quietly, when `signal` is aborted.
 * @throws TLedgerError BODY_TOO_LARGE for a line that no message can hold, before all of it is in memory.
 */
export async function* linesOf(
  stream: Readable,
  options: { readonly keepNewline: boolean; readonly signal?: AbortSignal },
): AsyncGenerator<Buffer, void, void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let line = 0;
  for await (const chunk of untilAborted(stream, options.signal)) {
    let at = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, at)) {
      const piece = chunk.subarray(at, options.keepNewline ? end + 1 : end);
      line++;
      yield rest.length === 0 ? piece : Buffer.concat([...rest, piece]);
      rest = [];
      restBytes = 0;
      at = end + 1;
    }
    if (at < chunk.length) rest.push(chunk.subarray(at));
    restBytes += chunk.length - at;
    if (restBytes > messageLimits.bodyBytesMax) {
      throw new TLedgerError('BODY_TOO_LARGE', `line ${line + 1} is longer than ${messageLimits.bodyBytesMax} bytes`);
    }
  }
  if (restBytes > 0) yield Buffer.concat(rest);
}

/** The bytes of field `number` (from 1) of a line; undefined when it has fewer fields. */
export function fieldOf(line: Buffer, number: number, delimiter: Buffer): Buffer | undefined {
  const length = line[line.length - 1] === NEWLINE ? line.length - 1 : line.length;
  const text = line.subarray(0, length);
  let start = 0;
  for (let field = 1; field < number; field++) {
    const end = text.indexOf(delimiter, start);
    if (end < 0) return undefined;
    start = end + delimiter.length;
  }
  const end = text.indexOf(delimiter, start);
  return text.subarray(start, end < 0 ? text.length : end);
}

async function* untilAborted(stream: Readable, signal: AbortSignal | undefined): AsyncGenerator<Buffer, void, void> {
  const stop = () => stream.destroy();
  signal?.addEventListener('abort', stop);
  try {
    for await (const chunk of stream) {
      if (signal?.aborted) return;
      yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as string);
    }
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
