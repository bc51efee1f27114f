// The id that a broker gives a message (RocketMQ's "offset message id", ROCKETMQ_GRPC.md 10.2): store host and physical
// offset as upper-case hex digits. The store host of our messages is all zeros, so the id is the same on every replica.
//
//   0000000000000000 000000000001A2B8
//   address 4, port 4  physical offset 8
import { TLedgerError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { type PhysicalOffset, physicalOffset } from './record.ts';

const HEX_DIGITS = 16;
const NO_HOST = '0'.repeat(HEX_DIGITS);

/** The id of the message at a physical offset. */
export function messageIdOf(offset: PhysicalOffset): string {
  return NO_HOST + offset.toString(16).toUpperCase().padStart(HEX_DIGITS, '0');
}

/** Whether text can be a message id: 32 hex digits, or 56 with an IPv6 address. */
export function isMessageId(text: string): boolean {
  return /^([0-9a-fA-F]{32}|[0-9a-fA-F]{56})$/.test(text);
}

/**
 * Where the message with an id would lie.
 * @returns null for the id of a message that another broker stored.
 * @throws TLedgerError INVALID_ARGUMENT for what is no message id.
 */
export function parseMessageId(text: string): PhysicalOffset | null {
  if (!isMessageId(text)) throw new TLedgerError('INVALID_ARGUMENT', `${quoted(text)} is not a message id`);
  const offset = Number.parseInt(text.slice(-HEX_DIGITS), 16);
  const isOurs = text.startsWith(NO_HOST) && text.length === 2 * HEX_DIGITS && Number.isSafeInteger(offset);
  return isOurs ? physicalOffset(offset) : null;
}
