// From records to entries of the key index: the way of what is applied, of what is made anew and of what is checked.

import { hasProducerStamp, locateParts, newParts, PRODUCER_STAMP_BYTES } from '../format/message.ts';
import {
  endOfKey,
  type FindableParts,
  isFindable,
  KEYS_PER_MESSAGE_MAX,
  keyHashIn,
  keyHashSeedOf,
  locateFindable,
  newFindableParts,
} from '../format/message_keys.ts';
import { hostBytesExtra, MESSAGE_STORE_TIMESTAMP_AT } from '../format/message_layout.ts';
import { indexAt, magicAt, positionAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';
import { isParkedAt } from '../format/record_flags.ts';
import { readUint64 } from '../format/uint64.ts';
import type { LogIndex } from '../raft/types.ts';

/** Takes entries in the order of the log. */
export interface KeySink {
  add(hash: number, offset: number, storedAtMs: number): void;
}

/** One message whose parts are known. */
export interface FindableMessage {
  readonly buffer: Buffer;
  /** Where its record begins in the buffer. */
  readonly at: number;
  readonly found: FindableParts;
  /** `keyHashSeed` of its topic. */
  readonly seed: number;
}

/** Store time of the message whose record begins at `at`. */
export function storedAtOf(buffer: Buffer, at: number): number {
  const messageAt = at + RECORD_HEADER_BYTES;
  return readUint64(buffer, messageAt + MESSAGE_STORE_TIMESTAMP_AT + hostBytesExtra(buffer, messageAt, false));
}

/** Adds an entry for the unique id and for each key, in their order. */
export function addKeys({ buffer, at, found, seed }: FindableMessage, sink: KeySink): void {
  const offset = positionAt(buffer, at) + RECORD_HEADER_BYTES;
  const storedAtMs = storedAtOf(buffer, at);
  const { uniqueStart, uniqueEnd, keysEnd } = found;
  if (uniqueEnd > uniqueStart) sink.add(keyHashIn(seed, buffer, uniqueStart, uniqueEnd), offset, storedAtMs);
  let left = KEYS_PER_MESSAGE_MAX;
  for (let start = found.keysStart; start < keysEnd && left > 0; ) {
    const end = endOfKey(buffer, start, keysEnd);
    if (end > start) {
      sink.add(keyHashIn(seed, buffer, start, end), offset, storedAtMs);
      left--;
    }
    start = end + 1;
  }
}

const parts = newParts();
const found = newFindableParts();

/**
 * Adds the keys of all messages among the whole, verified records of `[start, end)`; fillers between them are skipped.
 * @param upTo the last record that counts.
 */
export function addKeysOfRecords(
  records: { buffer: Buffer; start: number; end: number },
  upTo: LogIndex,
  sink: KeySink,
) {
  const { buffer, end } = records;
  for (let at = records.start; at < end; at += sizeAt(buffer, at)) {
    const magic = magicAt(buffer, at);
    if (magic === recordMagic.filler) continue;
    if (indexAt(buffer, at) > upTo) return;
    if (magic !== recordMagic.message || isParkedAt(buffer, at)) continue;
    if (!locateParts(buffer, at + RECORD_HEADER_BYTES, at + sizeAt(buffer, at), parts)) continue;
    const stampBytes = hasProducerStamp(buffer, parts) ? PRODUCER_STAMP_BYTES : 0;
    locateFindable(buffer, parts.propertiesStart, parts.propertiesEnd - stampBytes, found);
    if (isFindable(found)) addKeys({ buffer, at, found, seed: keyHashSeedOf(buffer, parts) }, sink);
  }
}
