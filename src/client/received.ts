// From packed records to messages: what a reader does with the bytes a node sends.
import { TLedgerError } from '../base/errors.ts';
import {
  decodeMessageRecord,
  isMessageBodyIntact,
  locateParts,
  newParts,
  type StoredMessage,
} from '../format/message.ts';
import { isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';

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
  let next = wanted.offset;
  for (let at = 0; at < records.length; ) {
    if (!isRecordWhole(records, at, records.length)) throw corrupted(wanted, `no record begins at byte ${at}`);
    const end = at + sizeAt(records, at);
    const message = magicAt(records, at) === recordMagic.message ? decodeMessageRecord(records, at, end) : undefined;
    if (message !== undefined && isOf(message, wanted) && message.queueOffset >= next) {
      if (message.queueOffset !== next) throw corrupted(wanted, `offset ${next} is missing`);
      const bodyAt = at + RECORD_HEADER_BYTES;
      if (!locateParts(records, bodyAt, end, parts) || !isMessageBodyIntact(records, bodyAt, parts)) {
        throw corrupted(wanted, `the body at offset ${next} does not match its checksum`);
      }
      messages.push(message);
      next++;
    }
    at = end;
  }
  return messages;
}

function isOf(message: StoredMessage, wanted: Wanted): boolean {
  return message.queueId === wanted.queue && message.topic === wanted.topic;
}

function corrupted(wanted: Wanted, what: string): TLedgerError {
  return new TLedgerError('DATA_CORRUPTED', `topic "${wanted.topic}", queue ${wanted.queue}: ${what}`);
}
