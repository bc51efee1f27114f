// What a user hands to a producer and what comes back.
import { validateMessage } from '../format/limits.ts';
import { encodeMessageRecord, type OutgoingMessage } from '../format/message.ts';

/** A message to send. */
export interface MessageToSend {
  readonly topic: string;
  /** 1 byte to 4 MiB. Not copied until it is sent: leave it unchanged until the outcome is known. */
  readonly body: Buffer;
  /** The queue; by `orderKey`, or in turn, if left out. */
  readonly queue?: number | undefined;
  /** Messages with equal keys go to the same queue and keep their order. */
  readonly orderKey?: string | Buffer | undefined;
  /** For filters; at most one. */
  readonly tag?: string | undefined;
  /** For look-ups. */
  readonly keys?: readonly string[] | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds since the epoch; now, if left out. */
  readonly bornAtMs?: number | undefined;
}

/** A message is committed: it will not be lost, and readers see it exactly once, there. */
export interface SendReceipt {
  readonly topic: string;
  readonly queue: number;
  /** Null when the answer was lost so long ago that the group remembers only that it has the message. */
  readonly queueOffset: number | null;
}

/** A batch is committed. Its frames lie in the queue in order, those of other producers between them. */
export interface BatchReceipt {
  readonly topic: string;
  readonly queue: number;
  readonly count: number;
  /** Offsets of consecutive messages of the batch; firstOffset as in `SendReceipt`. */
  readonly runs: readonly { readonly firstOffset: number | null; readonly count: number }[];
}

/**
 * The record of a message.
 * @throws TLedgerError for whatever is wrong with it (format/limits.ts, `validateMessage`).
 */
export function encodeRecord(message: MessageToSend, queue: number, bornAtMs: number): Buffer {
  const { topic, body, tag, keys, properties } = message;
  const outgoing: OutgoingMessage = { topic, queueId: queue, body, tag, keys, properties, bornAtMs };
  validateMessage(outgoing);
  return encodeMessageRecord(outgoing);
}

/** Records in their order, in as few pieces as the limits allow; a record over the limit is a piece of its own. */
export function splitIntoFrames(
  records: readonly Buffer[],
  { frameBytesMax, frameCountMax }: { readonly frameBytesMax: number; readonly frameCountMax: number },
): Buffer[][] {
  const frames: Buffer[][] = [];
  let bytes = 0;
  for (const record of records) {
    const last = frames[frames.length - 1];
    bytes += record.length;
    if (last !== undefined && bytes <= frameBytesMax && last.length < frameCountMax) {
      last.push(record);
    } else {
      frames.push([record]);
      bytes = record.length;
    }
  }
  return frames;
}
