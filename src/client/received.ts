// From packed records to messages: what a reader does with the bytes a node sends.
import { inspect } from 'node:util';
import { TLedgerError } from '../base/errors.ts';
import {
  decodeMessageRecord,
  hasSafeNumbers,
  isMessageBodyIntact,
  isTopic,
  locateParts,
  newParts,
  type QueueOffset,
  queueOffset,
  type StoredMessage,
} from '../format/message.ts';
import { MESSAGE_QUEUE_ID_AT, MESSAGE_QUEUE_OFFSET_AT } from '../format/message_layout.ts';
import { isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';
import { readUint32 } from '../format/uint32.ts';
import { readUint64 } from '../format/uint64.ts';

/** Which messages of a run of records are asked for. */
export interface Wanted {
  readonly topic: string;
  readonly queue: number;
  /** The first offset that has not been seen. */
  readonly offset: number;
}

/**
 * The messages of one queue in `records`, from `wanted.offset` on, in order. Records of other queues and topics that
 * lie between them are skipped, and so are messages seen before.
 * @returns views into `records`: they stay alive together.
 * @throws TLedgerError DATA_CORRUPTED for bytes that are no records, a body that does not match its checksum, or a gap.
 */
export function messagesIn(records: Buffer, wanted: Wanted): StoredMessage[] {
  const messages: StoredMessage[] = [];
  const parts = newParts();
  const topic = Buffer.from(wanted.topic);
  let next = wanted.offset;
  for (let at = 0; at < records.length; ) {
    if (!isRecordWhole(records, at, records.length)) throw corrupted(wanted, `no record begins at byte ${at}`);
    const end = at + sizeAt(records, at);
    const messageAt = at + RECORD_HEADER_BYTES;
    const isWanted =
      magicAt(records, at) === recordMagic.message &&
      locateParts(records, messageAt, end, parts) &&
      readUint32(records, messageAt + MESSAGE_QUEUE_ID_AT) === wanted.queue &&
      isTopic(records, parts, topic) &&
      hasSafeNumbers(records, messageAt);
    const offset = isWanted ? readUint64(records, messageAt + MESSAGE_QUEUE_OFFSET_AT) : -1;
    if (offset >= next) {
      if (offset !== next) throw corrupted(wanted, `offset ${next} is missing`);
      const body = records.subarray(parts.bodyStart, parts.bodyEnd);
      if (!isMessageBodyIntact(records, messageAt, parts, body)) {
        throw corrupted(wanted, `the body at offset ${next} does not match its checksum`);
      }
      messages.push(new ReceivedMessage(wanted, queueOffset(offset), body, { records, at, end }));
      next++;
    }
    at = end;
  }
  return messages;
}

/** Where a record lies. */
interface Place {
  readonly records: Buffer;
  readonly at: number;
  readonly end: number;
}

/** A message whose rarer fields are decoded when one of them is asked for: that costs more than all the rest. */
class ReceivedMessage implements StoredMessage {
  readonly topic: string;
  readonly queueId: number;
  readonly queueOffset: QueueOffset;
  readonly body: Buffer;
  readonly #records: Buffer;
  readonly #at: number;
  readonly #end: number;
  #decoded: StoredMessage | undefined;

  /** @param place of a record that can be decoded. */
  constructor({ topic, queue }: Wanted, offset: QueueOffset, body: Buffer, { records, at, end }: Place) {
    this.topic = topic;
    this.queueId = queue;
    this.queueOffset = offset;
    this.body = body;
    this.#records = records;
    this.#at = at;
    this.#end = end;
  }

  get physicalOffset() {
    return this.toJSON().physicalOffset;
  }

  get tag() {
    return this.toJSON().tag;
  }

  get keys() {
    return this.toJSON().keys;
  }

  get properties() {
    return this.toJSON().properties;
  }

  get bornAtMs() {
    return this.toJSON().bornAtMs;
  }

  get storedAtMs() {
    return this.toJSON().storedAtMs;
  }

  get reconsumeTimes() {
    return this.toJSON().reconsumeTimes;
  }

  /** All fields as a plain object. */
  toJSON(): StoredMessage {
    this.#decoded ??= decodeMessageRecord(this.#records, this.#at, this.#end)!;
    return this.#decoded;
  }

  [inspect.custom](): StoredMessage {
    return this.toJSON();
  }
}

function corrupted(wanted: Wanted, what: string): TLedgerError {
  return new TLedgerError('DATA_CORRUPTED', `topic "${wanted.topic}", queue ${wanted.queue}: ${what}`);
}
