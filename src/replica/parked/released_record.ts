// The record that brings a message which was held back into its queue. It also ends the holding back: both or neither.
import { assert } from '../../base/assert.ts';
import { effectText } from '../../broker/effects.ts';
import type { Parked } from '../../broker/parked/parked.ts';
import type { StoreRequest } from '../../broker/types.ts';
import { decodeMessageRecord, encodeMessageRecord } from '../../format/message.ts';
import { brokerProperty } from '../../format/message_properties.ts';
import { recordFlag } from '../../format/record_flags.ts';

/** What is stored for `parked`, whose record is `record`, and which is due. */
export function releasedRecord(record: Buffer, parked: Parked): StoreRequest {
  const message = decodeMessageRecord(record, 0, record.length);
  assert(message !== undefined, 'what is held back is a message');
  const { topic, queueId, body, tag, keys, bornAtMs } = message;
  const properties = new Map(message.properties);
  if (parked.kind === 'half') properties.set(brokerProperty.transactionId, parked.id);
  properties.set(brokerProperty.effect, effectText({ kind: 'release', index: parked.index }));
  const released = { topic, queueId, body, tag, keys, properties: Object.fromEntries(properties), bornAtMs };
  const request = { topic, queueId, flags: recordFlag.effect, records: encodeMessageRecord(released) };
  return parked.kind === 'delayed' ? { ...request, reachedMs: parked.dueMs } : request;
}
