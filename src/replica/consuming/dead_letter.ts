// The copy of a message among its group's dead letters. Its record also settles the original: both or neither.
import { assert } from '../../base/assert.ts';
import { effectText } from '../../broker/effects.ts';
import type { StoreRequest } from '../../broker/types.ts';
import { decodeMessageRecord, encodeMessageRecord, property } from '../../format/message.ts';
import { brokerProperty } from '../../format/message_properties.ts';
import { recordFlag } from '../../format/record_flags.ts';

/** Where a dead letter lay. */
export interface DeadLetterSource {
  readonly group: string;
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
}

/** What is stored in `topic`, queue 0. */
export function deadLetterRecord(record: Buffer, topic: string, source: DeadLetterSource): StoreRequest {
  const message = decodeMessageRecord(record, 0, record.length);
  assert(message !== undefined, 'what was handed out is a message');
  const properties = new Map(message.properties);
  const originTopic = properties.get(brokerProperty.deadLetterTopic) ?? source.topic;
  const id = properties.get(property.uniqueKey) ?? `${source.topic}/${source.queueId}/${source.offset}`;
  properties.set(brokerProperty.deadLetterTopic, originTopic);
  properties.set(brokerProperty.deadLetterId, id);
  properties.set(brokerProperty.effect, effectText({ kind: 'settle', ...source }));
  const { body, tag, keys, bornAtMs } = message;
  const copy = { topic, queueId: 0, body, tag, keys, properties: Object.fromEntries(properties), bornAtMs };
  return { topic, queueId: 0, flags: recordFlag.effect, records: encodeMessageRecord(copy) };
}
