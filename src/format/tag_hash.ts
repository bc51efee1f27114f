// What stands for a message's tag in its queue's unit, straight from the stored bytes: hot loops make no strings.
import { type MessageParts, PRODUCER_STAMP_BYTES, tagHash } from './message.ts';
import { PROPERTY_NAME_END, PROPERTY_VALUE_END } from './message_layout.ts';

const TAGS = 0x5441_4753;
const TAG_VALUE_AT = 5;
const ASCII_END = 0x80;

/**
 * `tagHash` of the tag of the message at `parts`; 0 without one.
 * @param hasStamp whether the properties end with a producer stamp, which is no tag.
 */
export function tagHashOf(buffer: Buffer, parts: MessageParts, hasStamp: boolean): number {
  const end = hasStamp ? parts.propertiesEnd - PRODUCER_STAMP_BYTES : parts.propertiesEnd;
  let at = parts.propertiesStart;
  while (at + TAG_VALUE_AT < end) {
    if (buffer.readUInt32BE(at) === TAGS && buffer[at + TAG_VALUE_AT - 1] === PROPERTY_NAME_END) {
      return hashOfText(buffer, at + TAG_VALUE_AT, end);
    }
    const valueEnd = buffer.indexOf(PROPERTY_VALUE_END, at);
    if (valueEnd < 0) return 0;
    at = valueEnd + 1;
  }
  return 0;
}

function hashOfText(buffer: Buffer, start: number, limit: number): number {
  let hash = 0;
  let isAscii = true;
  let at = start;
  for (; at < limit && buffer[at] !== PROPERTY_VALUE_END; at++) {
    const byte = buffer[at]!;
    if (byte >= ASCII_END) isAscii = false;
    hash = (Math.imul(31, hash) + byte) | 0;
  }
  return isAscii ? hash : tagHash(buffer.toString('utf8', start, at));
}
