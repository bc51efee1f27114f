// A broker's key index, if it has one: kept up to date while messages are applied, and asked for messages by key. What
// the index says is believed only after the message itself was read, verified and found to have the key.
import { TLedgerError } from '../base/errors.ts';
import { hasProducerStamp, locateParts, newParts, PRODUCER_STAMP_BYTES } from '../format/message.ts';
import { parseMessageId } from '../format/message_id.ts';
import { keyHash, locateFindable, newFindableParts, someKey } from '../format/message_keys.ts';
import {
  indexAt,
  magicAt,
  type PhysicalOffset,
  physicalOffset,
  RECORD_HEADER_BYTES,
  recordMagic,
} from '../format/record.ts';
import { isParkedAt } from '../format/record_flags.ts';
import type { LogIndex } from '../raft/types.ts';
import { KeyIndex, type KeyIndexPlace } from '../storage/key_index.ts';
import { storedAtOf } from '../storage/key_index_records.ts';
import { KeySearch, NEWEST, parsePlace, placeText } from '../storage/key_index_search.ts';
import type { BrokerOptions, RecordBytes } from './options.ts';
import type { StoredTables } from './state_tables.ts';
import type { KeyQuery, KeyQueryResult } from './types.ts';

/** Records that one query reads, those of other keys with the same hash among them. */
export const QUERY_READS_MAX = 512;

const parts = newParts();
const found = newFindableParts();

/** See the head of the file. Without `keyIndex` in the options it finds nothing by key. */
export class MessageKeys {
  readonly index: KeyIndex | null;
  readonly #options: BrokerOptions;
  readonly #applied: () => LogIndex;
  readonly #told: (error: unknown) => unknown;
  #isMoved = false;

  /** @param told is given what reading the log throws, and gives it back. */
  constructor(options: BrokerOptions, applied: () => LogIndex, told: (error: unknown) => unknown) {
    this.#options = options;
    this.#applied = applied;
    this.#told = told;
    this.index = options.keyIndex === undefined ? null : new KeyIndex({ ...options, ...options.keyIndex });
  }

  /** Goes on where the checkpoint was. @returns `none` when the checkpoint knows of an index that is not wanted now. */
  resume(stored: StoredTables): 'none' | null {
    const { keyIndex, base } = this.#options;
    if (this.index === null || keyIndex === undefined) return stored.keyIndex === null ? null : 'none';
    const index = stored.applied;
    this.index.resume(stored.keyIndex, { base: base.end, index, end: keyIndex.endOf(index) });
    return null;
  }

  /** A batch of records is applied, the last of them at `position`. */
  applied(position: PhysicalOffset): void {
    if (this.index === null) return;
    this.index.write(position);
    this.#isMoved = true;
  }

  /** How far the index has come, if it has since the last call. */
  takePlace(): KeyIndexPlace | null {
    if (!this.#isMoved || this.index === null) return null;
    this.#isMoved = false;
    return this.index.place;
  }

  /**
   * Messages with a key or a unique id, newest first. Bounded work: `cursor` of the result says where to go on.
   * @throws TLedgerError INVALID_ARGUMENT (a cursor of something else), KEY_INDEX_OFF, DATA_CORRUPTED
   */
  query(query: KeyQuery): KeyQueryResult {
    const index = this.#required();
    const { topic, key, beginMs, endMs, cursor } = query;
    const from = cursor === '' ? NEWEST : parsePlace(cursor);
    const search = new KeySearch(index, { hash: keyHash(topic, key), beginMs, endMs }, from);
    const wanted = { ...query, keyBytes: Buffer.from(key), topicBytes: Buffer.from(topic) };
    const records: Buffer[] = [];
    let bytes = 0;
    let reads = 0;
    let before = -1;
    const result = (next: string | null): KeyQueryResult => ({
      records: Buffer.concat(records),
      count: records.length,
      cursor: next,
      isComplete: index.missing.length === 0,
    });
    for (let offset = search.next(); offset !== null; offset = search.next()) {
      // Several keys of one message may have the same hash; they stand side by side.
      if (offset !== before) {
        if (records.length >= query.countMax || reads++ >= QUERY_READS_MAX) return result(placeText(search.place));
        const record = this.#recordOf(offset);
        if (record === null) {
          index.lost(search.place.segment, `an entry leads to ${offset}, where no message is`);
          continue;
        }
        if (isWanted(record, wanted)) {
          const size = record.end - record.start;
          if (bytes > 0 && bytes + size > query.bytesMax) return result(placeText(search.place));
          bytes += size;
          records.push(record.buffer.subarray(record.start, record.end));
        }
        before = offset;
      }
      search.advance();
    }
    return result(search.isDone ? null : placeText(search.place));
  }

  /**
   * The message with an id as `messageIdOf` makes it; an empty buffer when there is none (any more).
   * @param topic of the message; empty: any.
   * @throws TLedgerError INVALID_ARGUMENT for what is no message id, KEY_INDEX_OFF, DATA_CORRUPTED
   */
  byId(topic: string, id: string): Buffer {
    this.#required();
    const offset = parseMessageId(id);
    const record = offset === null ? null : this.#recordOf(offset);
    if (record === null) return Buffer.alloc(0);
    const { buffer, start, end } = record;
    locateParts(buffer, start + RECORD_HEADER_BYTES, end, parts);
    const isOther = topic !== '' && buffer.toString('utf8', parts.topicStart, parts.topicEnd) !== topic;
    return isOther ? Buffer.alloc(0) : buffer.subarray(start, end);
  }

  /** The record of the message at an offset, if it is applied and not held back. */
  #recordOf(offset: PhysicalOffset): RecordBytes | null {
    if (offset < RECORD_HEADER_BYTES) return null;
    const record = this.#readRecord(physicalOffset(offset - RECORD_HEADER_BYTES));
    if (record === null) return null;
    const { buffer, start, end } = record;
    const isShown = magicAt(buffer, start) === recordMagic.message && !isParkedAt(buffer, start);
    return isShown &&
      indexAt(buffer, start) <= this.#applied() &&
      locateParts(buffer, start + RECORD_HEADER_BYTES, end, parts)
      ? record
      : null;
  }

  #readRecord(position: PhysicalOffset): RecordBytes | null {
    try {
      return this.#options.keyIndex!.recordAt(position);
    } catch (error) {
      throw this.#told(error);
    }
  }

  #required(): KeyIndex {
    if (this.index === null) throw new TLedgerError('KEY_INDEX_OFF');
    return this.index;
  }
}

interface Wanted extends KeyQuery {
  readonly keyBytes: Buffer;
  readonly topicBytes: Buffer;
}

function isWanted({ buffer, start, end }: RecordBytes, wanted: Wanted): boolean {
  const storedAtMs = storedAtOf(buffer, start);
  if (storedAtMs < wanted.beginMs || storedAtMs > wanted.endMs) return false;
  if (!locateParts(buffer, start + RECORD_HEADER_BYTES, end, parts)) return false;
  if (wanted.topicBytes.compare(buffer, parts.topicStart, parts.topicEnd) !== 0) return false;
  const stampBytes = hasProducerStamp(buffer, parts) ? PRODUCER_STAMP_BYTES : 0;
  locateFindable(buffer, parts.propertiesStart, parts.propertiesEnd - stampBytes, found);
  const { keyBytes } = wanted;
  if (found.uniqueEnd > 0 && keyBytes.compare(buffer, found.uniqueStart, found.uniqueEnd) === 0) return true;
  return wanted.by === 'key' && someKey(buffer, found, (from, to) => keyBytes.compare(buffer, from, to) === 0);
}
