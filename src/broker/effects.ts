// What a message record does beside bringing a message into a queue, by the flags of its header (format/record_flags.ts).
// One record does it all or nothing, so that no crash comes in between:
//
//   parked       the message is held back instead: until it is due (`TIMER_DELIVER_MS`) or its transaction is resolved
//   effect       `release <index>`                             what was held back there is in its queue now
//                `settle <group> <topic> <queue> <offset>`     the message there is a dead letter now: this record is its copy
//   remembered   the message id goes into the window
import { assert } from '../base/assert.ts';
import { decodeProperties, type MessageParts, property } from '../format/message.ts';
import { hostBytesExtra, MESSAGE_QUEUE_ID_AT, MESSAGE_STORE_TIMESTAMP_AT } from '../format/message_layout.ts';
import { brokerProperty } from '../format/message_properties.ts';
import { positionAt, RECORD_HEADER_BYTES } from '../format/record.ts';
import { recordFlag } from '../format/record_flags.ts';
import { readUint64 } from '../format/uint64.ts';
import { type LogIndex, logIndex } from '../raft/types.ts';
import { readCount } from './state_tables.ts';
import type { Tables } from './tables.ts';

/** Asked for the first time after so long, unless the producer said otherwise (ROCKETMQ §5.6). */
export const HALF_CHECK_MS = 6_000;

/** What else happens when a record is applied. */
export type Effect =
  | { readonly kind: 'release'; readonly index: LogIndex }
  | {
      readonly kind: 'settle';
      readonly group: string;
      readonly topic: string;
      readonly queueId: number;
      readonly offset: number;
    };

/** An effect as the value of its property. */
export function effectText(effect: Effect): string {
  if (effect.kind === 'release') return `release ${effect.index}`;
  return `settle ${effect.group} ${effect.topic} ${effect.queueId} ${effect.offset}`;
}

/** The effect of that text. @throws InvariantError when it is none. */
export function readEffect(text: string): Effect {
  const [kind, ...words] = text.split(' ');
  if (kind === 'release' && words.length === 1) return { kind, index: logIndex(readCount(Number(words[0]))) };
  assert(kind === 'settle' && words.length === 4, () => `the effect ${JSON.stringify(text)} is not understood`);
  const [group, topic, queueId, offset] = words as [string, string, string, string];
  return { kind, group, topic, queueId: readCount(Number(queueId)), offset: readCount(Number(offset)) };
}

/** A flagged record: where it lies, and where its parts are. */
export interface FlaggedRecord {
  readonly buffer: Buffer;
  readonly at: number;
  readonly end: number;
  readonly parts: MessageParts;
  readonly index: LogIndex;
  readonly flags: number;
}

/** Carries out the flags of a record. @throws InvariantError when it contradicts the state. */
export function applyFlags(record: FlaggedRecord, queueOffset: number, tables: Tables): void {
  const { buffer, at, parts, index, flags } = record;
  const messageAt = at + RECORD_HEADER_BYTES;
  const properties = decodeProperties(buffer, parts.propertiesStart, parts.propertiesEnd);
  const storedAtMs = readUint64(
    buffer,
    messageAt + MESSAGE_STORE_TIMESTAMP_AT + hostBytesExtra(buffer, messageAt, false),
  );
  const topic = buffer.toString('utf8', parts.topicStart, parts.topicEnd);
  if ((flags & recordFlag.parked) !== 0) park(record, properties, storedAtMs, tables);
  if ((flags & recordFlag.effect) !== 0) {
    const effect = readEffect(properties.get(brokerProperty.effect) ?? '');
    if (effect.kind === 'release') tables.unpark(effect.index, 'commit', index);
    else settle(effect, tables);
  }
  if ((flags & recordFlag.remembered) !== 0) {
    const id = properties.get(property.uniqueKey);
    assert(id !== undefined, () => `record ${index} has no message id to remember`);
    const queueId = buffer.readUInt32BE(messageAt + MESSAGE_QUEUE_ID_AT);
    tables.sent.add({ id, topic, atMs: storedAtMs, index, queueId, offset: queueOffset });
  }
}

function park(
  { buffer, at, end, parts, index }: FlaggedRecord,
  properties: ReadonlyMap<string, string>,
  storedAtMs: number,
  tables: Tables,
): void {
  const deliverAt = properties.get(brokerProperty.deliverAtMs);
  const recovery = properties.get(brokerProperty.recoverySeconds);
  const checkMs = recovery === undefined ? HALF_CHECK_MS : readCount(Number(recovery)) * 1_000;
  tables.parked.add({
    index,
    kind: deliverAt === undefined ? 'half' : 'delayed',
    position: positionAt(buffer, at),
    sizeBytes: end - at,
    dueMs: deliverAt === undefined ? storedAtMs + checkMs : readCount(Number(deliverAt)),
    checks: 0,
    topic: buffer.toString('utf8', parts.topicStart, parts.topicEnd),
    id: properties.get(property.uniqueKey) ?? '',
  });
}

function settle({ group, topic, queueId, offset }: Effect & { kind: 'settle' }, tables: Tables): void {
  // The group was deleted meanwhile, or the message acknowledged: the copy stands for itself.
  if (tables.progress.get(group, topic)?.queues.get(queueId)?.inFlight.has(offset) !== true) return;
  tables.progress.enter(group, topic, queueId).settle(offset);
}
