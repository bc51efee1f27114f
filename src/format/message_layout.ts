// Where the fields of a message lie: RocketMQ's CommitLog layout (magic V1), which is the body of a message record.
//
//    0 totalSize 4 | 4 magic 4 | 8 bodyCrc 4 | 12 queueId 4 | 16 flag 4 | 20 queueOffset 8 | 28 physicalOffset 8
//   36 sysFlag 4 | 40 bornTimestamp 8 | 48 bornHost 8 (20 for IPv6) | .. storeTimestamp 8 | .. storeHost 8 (20)
//      then reconsumeTimes 4 | preparedTransactionOffset 8 | bodySize 4 | body
//      topicSize 1 | topic | propertiesSize 2 | properties: name 0x01 value 0x02 …
//
// Offsets below are from the start of the message. Those after bornHost hold for IPv4 hosts, which is what we write;
// `hostBytesExtra` tells how much further they lie in a message that came from elsewhere.
import { readInt32 } from './uint32.ts';

export const MESSAGE_TOTAL_SIZE_AT = 0;
export const MESSAGE_MAGIC_AT = 4;
export const MESSAGE_BODY_CRC_AT = 8;
export const MESSAGE_QUEUE_ID_AT = 12;
export const MESSAGE_FLAG_AT = 16;
export const MESSAGE_QUEUE_OFFSET_AT = 20;
export const MESSAGE_PHYSICAL_OFFSET_AT = 28;
export const MESSAGE_SYS_FLAG_AT = 36;
export const MESSAGE_BORN_TIMESTAMP_AT = 40;
export const MESSAGE_BORN_HOST_AT = 48;
export const MESSAGE_STORE_TIMESTAMP_AT = 56;
export const MESSAGE_STORE_HOST_AT = 64;
export const MESSAGE_RECONSUME_TIMES_AT = 72;
export const MESSAGE_PREPARED_OFFSET_AT = 76;
export const MESSAGE_BODY_SIZE_AT = 84;
export const MESSAGE_BODY_AT = 88;

/** Magic V1 as a signed 32-bit integer (0xDAA320A7). */
export const MESSAGE_MAGIC = -626_843_481;
export const SYS_FLAG_BORN_HOST_V6 = 0x10;
export const SYS_FLAG_STORE_HOST_V6 = 0x20;
const HOST_V6_BYTES_EXTRA = 12;

/** Separates a property's name from its value, and one property from the next. */
export const PROPERTY_NAME_END = 0x01;
export const PROPERTY_VALUE_END = 0x02;

/** Bytes by which the born host (and with `both` also the store host) of the message at `at` exceeds the IPv4 form. */
export function hostBytesExtra(buffer: Buffer, at: number, both: boolean): number {
  const flags = readInt32(buffer, at + MESSAGE_SYS_FLAG_AT);
  const born = flags & SYS_FLAG_BORN_HOST_V6 ? HOST_V6_BYTES_EXTRA : 0;
  const store = both && flags & SYS_FLAG_STORE_HOST_V6 ? HOST_V6_BYTES_EXTRA : 0;
  return born + store;
}
