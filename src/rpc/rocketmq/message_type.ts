// What kind a message is, and which kinds a topic takes (ROCKETMQ §4.2, §4.6). What the message carries decides, not what it
// calls itself; only a transaction has nothing to show for it.
import { TLedgerError } from '../../base/errors.ts';
import type { TopicInfo, TopicType } from '../../broker/types.ts';
import type { MessageType, SystemProperties } from '../../wire/rocketmq/definitions.ts';

/** A kind of message. */
export type KnownMessageType = Exclude<MessageType, 'MESSAGE_TYPE_UNSPECIFIED'>;

const accepted: Readonly<Record<TopicType, readonly KnownMessageType[]>> = {
  mixed: ['NORMAL', 'FIFO', 'DELAY', 'TRANSACTION'],
  normal: ['NORMAL'],
  fifo: ['FIFO'],
  delay: ['DELAY'],
  transaction: ['TRANSACTION'],
  lite: ['LITE'],
  priority: ['PRIORITY'],
};

/** The kinds that a topic takes; never none. */
export function acceptedTypes({ messageType }: TopicInfo): readonly KnownMessageType[] {
  return accepted[messageType ?? 'mixed'];
}

/** Of several kinds that a message might be, the first. */
export function messageTypeOf(system: SystemProperties): KnownMessageType {
  if (system.messageType === 'TRANSACTION') return 'TRANSACTION';
  if (system.deliveryTimestamp !== undefined) return 'DELAY';
  if ((system.messageGroup ?? '') !== '') return 'FIFO';
  if (system.priority !== undefined) return 'PRIORITY';
  if ((system.liteTopic ?? '') !== '') return 'LITE';
  return 'NORMAL';
}

/** @throws TLedgerError MESSAGE_TYPE_MISMATCH when the topic does not take that kind. */
export function checkMessageType(type: KnownMessageType, topic: TopicInfo): void {
  if (acceptedTypes(topic).includes(type)) return;
  const expected = (topic.messageType ?? 'mixed').toUpperCase();
  throw new TLedgerError(
    'MESSAGE_TYPE_MISMATCH',
    `TopicMessageType validate failed, the expected type is ${expected}, but actual type is ${type}`,
  );
}
