// A record as people and programs want to see it: its header, and what it says if it is a message.
import { decodeMessageRecord } from './message.ts';
import {
  bodySizeAt,
  chainCrcAt,
  indexAt,
  magicAt,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from './record.ts';

const kinds = new Map<number, RecordKind>([
  [recordMagic.message, 'message'],
  [recordMagic.noop, 'no-op'],
  [recordMagic.membership, 'membership'],
  [recordMagic.command, 'command'],
]);

/** What a record is, in words. */
export type RecordKind = 'message' | 'no-op' | 'membership' | 'command' | 'unknown';

/** The message in a record. */
export interface DescribedMessage {
  readonly topic: string;
  readonly queueId: number;
  readonly queueOffset: number;
  readonly tag: string | null;
  readonly keys: readonly string[];
  readonly properties: Readonly<Record<string, string>>;
  readonly bornAtMs: number;
  readonly storedAtMs: number;
  readonly bodyBytes: number;
}

/** A record; `chain` is `ok` when it continues the record before, `unknown` when that one cannot be read. */
export interface DescribedRecord {
  readonly index: number;
  readonly term: number;
  readonly position: number;
  readonly sizeBytes: number;
  readonly kind: RecordKind;
  readonly chain: 'ok' | 'unknown';
  /** 8 hex digits. */
  readonly chainCrc: string;
  readonly message: DescribedMessage | null;
  /** The beginning of the body: of the message's one, if it is a message. As text, other bytes escaped as \xNN. */
  readonly preview: string;
}

/**
 * Describes the record at `at`, whose header and body are intact.
 * @param previewBytes how much of the body to show.
 */
export function describeRecord(
  buffer: Buffer,
  at: number,
  options: { readonly chain: 'ok' | 'unknown'; readonly previewBytes: number },
): DescribedRecord {
  const end = at + sizeAt(buffer, at);
  const kind = kinds.get(magicAt(buffer, at)) ?? 'unknown';
  const stored = kind === 'message' ? decodeMessageRecord(buffer, at, end) : undefined;
  const bodyAt = at + RECORD_HEADER_BYTES;
  const body = stored?.body ?? buffer.subarray(bodyAt, bodyAt + bodySizeAt(buffer, at));
  return {
    index: indexAt(buffer, at),
    term: termAt(buffer, at),
    position: positionAt(buffer, at),
    sizeBytes: end - at,
    kind,
    chain: options.chain,
    chainCrc: chainCrcAt(buffer, at).toString(16).padStart(8, '0'),
    message:
      stored === undefined
        ? null
        : {
            topic: stored.topic,
            queueId: stored.queueId,
            queueOffset: stored.queueOffset,
            tag: stored.tag ?? null,
            keys: stored.keys,
            properties: Object.fromEntries(stored.properties),
            bornAtMs: stored.bornAtMs,
            storedAtMs: stored.storedAtMs,
            bodyBytes: stored.body.length,
          },
    preview: previewOf(body.subarray(0, options.previewBytes)),
  };
}

/** Which records: those that fit all that is given. */
export interface DumpRange {
  readonly fromIndex: number | null;
  readonly toIndex: number | null;
  /** From the record at or behind this position of the log. */
  readonly position: number | null;
  readonly topic: string | null;
  readonly queueId: number | null;
  /** From this offset of the queue on. */
  readonly offset: number | null;
  readonly countMax: number;
  readonly previewBytes: number;
}

/** Whether a record is one of those that are asked for, its index apart. */
export function isAskedFor({ message, position }: DescribedRecord, range: DumpRange): boolean {
  if (range.position !== null && position < range.position) return false;
  if (range.topic === null) return true;
  if (message === null || message.topic !== range.topic) return false;
  if (range.queueId !== null && message.queueId !== range.queueId) return false;
  return message.queueOffset >= (range.offset ?? 0);
}

/** Printable characters as they are; anything else, and what UTF-8 does not know, byte by byte. */
function previewOf(bytes: Buffer): string {
  let text = '';
  for (const byte of bytes) {
    text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return text;
}
