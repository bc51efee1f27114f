// A message as RocketMQ stores it (ROCKETMQ_GRPC.md 10.2), read as strangers wrote it: both magics, hosts of both kinds,
// any system flags. What we write ourselves is one of these (message_layout.ts), so this reads our messages, too.
import { crc32 } from '../base/crc.ts';
import {
  hostBytesExtra,
  MESSAGE_BODY_AT,
  MESSAGE_BODY_CRC_AT,
  MESSAGE_BODY_SIZE_AT,
  MESSAGE_BORN_HOST_AT,
  MESSAGE_BORN_TIMESTAMP_AT,
  MESSAGE_FLAG_AT,
  MESSAGE_MAGIC,
  MESSAGE_MAGIC_AT,
  MESSAGE_PHYSICAL_OFFSET_AT,
  MESSAGE_PREPARED_OFFSET_AT,
  MESSAGE_QUEUE_ID_AT,
  MESSAGE_QUEUE_OFFSET_AT,
  MESSAGE_RECONSUME_TIMES_AT,
  MESSAGE_STORE_HOST_AT,
  MESSAGE_STORE_TIMESTAMP_AT,
  MESSAGE_SYS_FLAG_AT,
  MESSAGE_TOTAL_SIZE_AT,
  SYS_FLAG_BORN_HOST_V6,
  SYS_FLAG_STORE_HOST_V6,
} from './message_layout.ts';
import { isUint64Safe, readUint64 } from './uint64.ts';

/** Magic V2 as a signed 32-bit integer (0xDAA320AB): the length of the topic has two bytes. */
export const MESSAGE_MAGIC_V2 = -626_843_477;
/** Magic of the blank that closes a CommitLog file (0xCBD43194); before it stands the size of the rest of the file. */
export const BLANK_MAGIC = -875_286_124;
/** Size and magic: the smallest blank, and what every record leaves room for. */
export const BLANK_HEADER_BYTES = 8;
/** The largest record: a message of 4 MiB and what lies around its body. */
export const ROCKETMQ_RECORD_BYTES_MAX = 4 * 1_048_576 + 65_536;

/** Bits of the system flags. */
export const sysFlag = {
  compressed: 0x1,
  multiTags: 0x2,
  /** Ordinary 0, prepared 4, commit 8, rollback 12. */
  transactionMask: 0xc,
  prepared: 0x4,
  commit: 0x8,
  rollback: 0xc,
  bornHostV6: SYS_FLAG_BORN_HOST_V6,
  storeHostV6: SYS_FLAG_STORE_HOST_V6,
  needsUnwrap: 0x40,
  innerBatch: 0x80,
  compressionMask: 0x700,
} as const;

/** How a body is compressed, by the bits 8 to 10 of the system flags; old brokers leave them 0 and mean zlib. */
export type Compression = 'none' | 'zlib' | 'lz4' | 'zstd' | 'unknown';

/** What system flags say of the body. */
export function compressionOf(flags: number): Compression {
  if ((flags & sysFlag.compressed) === 0) return 'none';
  return (['zlib', 'lz4', 'zstd', 'zlib'] as const)[(flags & sysFlag.compressionMask) >> 8] ?? 'unknown';
}

/** A message and where its parts lie, as positions in the buffer it was read from. */
export interface RocketMqMessage {
  readonly sizeBytes: number;
  /** 1 or 2. */
  readonly version: number;
  readonly queueId: number;
  readonly flag: number;
  readonly queueOffset: number;
  readonly physicalOffset: number;
  readonly sysFlag: number;
  readonly bornAtMs: number;
  /** Where its 8 (IPv6: 20) bytes begin. */
  readonly bornHostAt: number;
  readonly storedAtMs: number;
  readonly storeHostAt: number;
  readonly reconsumeTimes: number;
  /** An offset when it is one; whatever else brokers leave there is read as 0. */
  readonly preparedOffset: number;
  readonly bodyStart: number;
  readonly bodyEnd: number;
  readonly topic: string;
  readonly propertiesStart: number;
  readonly propertiesEnd: number;
}

/** Whether the four bytes at `at` are one of the two magics. */
export function isMessageMagic(buffer: Buffer, at: number): boolean {
  const magic = buffer.readInt32BE(at);
  return magic === MESSAGE_MAGIC || magic === MESSAGE_MAGIC_V2;
}

/**
 * Reads the message that fills `[at, end)` and checks all that can be checked of it alone: the layout, and the body
 * against its checksum.
 * @returns the message, or what is wrong with it. Never throws because of the bytes.
 */
export function readRocketMqMessage(buffer: Buffer, at: number, end: number): RocketMqMessage | string {
  if (end - at < MESSAGE_BODY_AT + 3) return 'is too short for a message';
  if (buffer.readUInt32BE(at + MESSAGE_TOTAL_SIZE_AT) !== end - at) return 'says another size';
  if (!isMessageMagic(buffer, at + MESSAGE_MAGIC_AT)) return 'has an unknown magic';
  const version = buffer.readInt32BE(at + MESSAGE_MAGIC_AT) === MESSAGE_MAGIC ? 1 : 2;
  const bornExtra = hostBytesExtra(buffer, at, false);
  const extra = hostBytesExtra(buffer, at, true);
  const bodyStart = at + MESSAGE_BODY_AT + extra;
  if (bodyStart + version + 2 > end) return 'is too short for a message';
  const bodyEnd = bodyStart + buffer.readUInt32BE(at + MESSAGE_BODY_SIZE_AT + extra);
  const topicStart = bodyEnd + version;
  if (topicStart + 2 > end) return 'has a body that reaches beyond it';
  const topicEnd = topicStart + (version === 1 ? buffer.readUInt8(bodyEnd) : buffer.readUInt16BE(bodyEnd));
  const propertiesStart = topicEnd + 2;
  if (propertiesStart > end) return 'has a topic that reaches beyond it';
  if (propertiesStart + buffer.readUInt16BE(topicEnd) !== end) return 'has properties that do not end where it ends';
  // No checksum covers topic and properties; the zeros of what was never written show there.
  if (buffer.subarray(topicStart, topicEnd).includes(0)) return 'has zeros in its topic';
  if (buffer.subarray(propertiesStart, end).includes(0)) return 'has zeros in its properties';
  const numbers = [MESSAGE_QUEUE_OFFSET_AT, MESSAGE_PHYSICAL_OFFSET_AT, MESSAGE_BORN_TIMESTAMP_AT];
  numbers.push(MESSAGE_STORE_TIMESTAMP_AT + bornExtra);
  if (!numbers.every((field) => isUint64Safe(buffer, at + field))) return 'has a time or offset above 2^53';
  const bodyCrc = crc32(buffer, bodyStart, bodyEnd) & 0x7fff_ffff;
  if (bodyCrc !== buffer.readUInt32BE(at + MESSAGE_BODY_CRC_AT)) return 'does not match the checksum of its body';
  const preparedAt = at + MESSAGE_PREPARED_OFFSET_AT + extra;
  return {
    sizeBytes: end - at,
    version,
    queueId: buffer.readUInt32BE(at + MESSAGE_QUEUE_ID_AT),
    flag: buffer.readInt32BE(at + MESSAGE_FLAG_AT),
    queueOffset: readUint64(buffer, at + MESSAGE_QUEUE_OFFSET_AT),
    physicalOffset: readUint64(buffer, at + MESSAGE_PHYSICAL_OFFSET_AT),
    sysFlag: buffer.readInt32BE(at + MESSAGE_SYS_FLAG_AT),
    bornAtMs: readUint64(buffer, at + MESSAGE_BORN_TIMESTAMP_AT),
    bornHostAt: at + MESSAGE_BORN_HOST_AT,
    storedAtMs: readUint64(buffer, at + MESSAGE_STORE_TIMESTAMP_AT + bornExtra),
    storeHostAt: at + MESSAGE_STORE_HOST_AT + bornExtra,
    reconsumeTimes: buffer.readInt32BE(at + MESSAGE_RECONSUME_TIMES_AT + extra),
    preparedOffset: isUint64Safe(buffer, preparedAt) ? readUint64(buffer, preparedAt) : 0,
    bodyStart,
    bodyEnd,
    topic: buffer.toString('utf8', topicStart, topicEnd),
    propertiesStart,
    propertiesEnd: end,
  };
}

/** The host at `at` as `address:port`, IPv6 addresses in brackets. */
export function hostText(buffer: Buffer, at: number, isV6: boolean): string {
  if (!isV6) return `${buffer.subarray(at, at + 4).join('.')}:${buffer.readUInt32BE(at + 4)}`;
  const groups = Array.from({ length: 8 }, (_, group) => buffer.readUInt16BE(at + 2 * group).toString(16));
  const address = new URL(`http://[${groups.join(':')}]`).hostname;
  return `${address}:${buffer.readUInt32BE(at + 16)}`;
}
