// Texts that clients carry for us and do not look into.
//
//   receipt   1-<queue>-<offset>-<handle>-<attempt>-<crc32 of group and topic>     one delivery of one message
//   recall    <index>-<due>-<message id>, in base64url                             one message that is held back
import { crc32 } from '../../base/crc.ts';
import { TLedgerError } from '../../base/errors.ts';
import { type LogIndex, logIndex } from '../../raft/types.ts';
import type { Receipt } from '../../replica/consuming/types.ts';

const VERSION = '1';
const RECEIPT = /^1-(\d{1,6})-(\d{1,16})-(\d{1,16})-(\d{1,9})-([0-9a-f]{8})$/;
const RECALL = /^(\d{1,16})-(\d{1,16})-(.+)$/s;

/** A receipt, and the attempt that it stands for. */
export interface DeliveryReceipt extends Receipt {
  readonly attempt: number;
}

/** A group's place in a topic. */
export interface GroupTopic {
  readonly group: string;
  readonly topic: string;
}

/** The handle of a delivery to `group` from `topic`. */
export function receiptHandle({ queueId, offset, handle, attempt }: DeliveryReceipt, of: GroupTopic): string {
  return [VERSION, queueId, offset, handle, attempt, checkOf(of)].join('-');
}

/** The delivery of a handle. @throws TLedgerError INVALID_RECEIPT_HANDLE, also for another group's or topic's. */
export function readReceiptHandle(text: string, of: GroupTopic): DeliveryReceipt {
  const parts = RECEIPT.exec(text);
  if (parts === null || parts[5] !== checkOf(of)) throw invalidReceipt();
  const [queueId, offset, handle, attempt] = parts.slice(1, 5).map(Number) as [number, number, number, number];
  if (![offset, handle].every(Number.isSafeInteger)) throw invalidReceipt();
  return { queueId, offset, handle: logIndex(handle), attempt };
}

/** What clients look for in the text. */
export const invalidReceipt = (): TLedgerError =>
  new TLedgerError('INVALID_RECEIPT_HANDLE', 'receipt handle is expired');

/** A message that can be recalled. */
export interface Recallable {
  readonly index: LogIndex;
  readonly dueMs: number;
  readonly messageId: string;
}

/** The handle of a delayed message. */
export function recallHandle({ index, dueMs, messageId }: Recallable): string {
  return Buffer.from(`${index}-${dueMs}-${messageId}`).toString('base64url');
}

/** The message of a handle. @throws TLedgerError INVALID_ARGUMENT */
export function readRecallHandle(text: string): Recallable {
  const parts = RECALL.exec(Buffer.from(text, 'base64url').toString());
  const [index, dueMs] = [Number(parts?.[1]), Number(parts?.[2])];
  if (parts === null || !Number.isSafeInteger(index) || !Number.isSafeInteger(dueMs)) {
    throw new TLedgerError('INVALID_ARGUMENT', 'recall failed, the recall handle is not valid');
  }
  return { index: logIndex(index), dueMs, messageId: parts[3]! };
}

function checkOf({ group, topic }: GroupTopic): string {
  return crc32(Buffer.from(`${group}\n${topic}`))
    .toString(16)
    .padStart(8, '0');
}
