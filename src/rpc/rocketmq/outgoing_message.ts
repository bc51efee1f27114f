// A stored message on its way out: what RocketMQ's clients get (ROCKETMQ §6).
import { createHash } from 'node:crypto';
import { assert } from '../../base/assert.ts';
import { reservedProperties } from '../../format/limits.ts';
import { decodeMessageRecord, property, type StoredMessage } from '../../format/message.ts';
import { messageIdOf } from '../../format/message_id.ts';
import { brokerProperty } from '../../format/message_properties.ts';
import type { MessageType, Message as ProtocolMessage, Resource } from '../../wire/rocketmq/definitions.ts';
import { timestampOf } from './times.ts';

/** How one delivery is presented. */
export interface Presentation {
  /** As the client names it. */
  readonly topic: Resource;
  /** Where this node is reached, `host:port`. */
  readonly storeHost: string;
  /** Null when nobody is to acknowledge it. */
  readonly delivery: { readonly handle: string; readonly attempt: number } | null;
}

/** The message of a whole record. */
export function outgoingMessage(record: Buffer, { topic, storeHost, delivery }: Presentation): ProtocolMessage {
  const stored = decodeMessageRecord(record, 0, record.length);
  assert(stored !== undefined, 'what is handed out is a message');
  const { properties, body } = stored;
  const text = (name: string): string | undefined => properties.get(name);
  const deliverAt = text(brokerProperty.deliverAtMs);
  const priority = text(brokerProperty.priority);
  return {
    topic,
    userProperties: userPropertiesOf(stored),
    systemProperties: {
      tag: stored.tag,
      keys: stored.keys,
      messageId: messageIdIn(stored),
      bodyDigest: { type: 'MD5', checksum: createHash('md5').update(body).digest('hex').toUpperCase() },
      bodyEncoding: text(brokerProperty.bodyEncoding) === 'GZIP' ? 'GZIP' : 'IDENTITY',
      messageType: typeOf(stored),
      bornTimestamp: timestampOf(stored.bornAtMs),
      bornHost: text(brokerProperty.bornHost) ?? '',
      storeTimestamp: timestampOf(stored.storedAtMs),
      storeHost,
      deliveryTimestamp: deliverAt === undefined ? undefined : timestampOf(Number(deliverAt)),
      receiptHandle: delivery?.handle,
      queueId: stored.queueId,
      queueOffset: String(stored.queueOffset),
      deliveryAttempt: delivery?.attempt,
      messageGroup: text(brokerProperty.messageGroup),
      traceContext: text(brokerProperty.traceContext),
      deadLetterQueue: deadLetterQueueOf(stored),
      liteTopic: text(brokerProperty.liteTopic),
      priority: priority === undefined ? undefined : Number(priority),
    },
    body,
  };
}

/** What users see of a message's properties: theirs, and those that RocketMQ does not hide (ROCKETMQ §6.2). */
function userPropertiesOf({ properties }: StoredMessage): Record<string, string> {
  const users: Record<string, string> = {};
  for (const [name, value] of properties) if (!reservedProperties.has(name)) users[name] = value;
  return users;
}

/** The id its client gave it, or, for what came another way, the one that its place gives. */
function messageIdIn({ properties, physicalOffset }: StoredMessage): string {
  return properties.get(property.uniqueKey) ?? messageIdOf(physicalOffset);
}

function typeOf({ properties }: StoredMessage): MessageType {
  if (properties.get(brokerProperty.transaction) === 'true') return 'TRANSACTION';
  if (properties.has(brokerProperty.deliverAtMs)) return 'DELAY';
  if (properties.has(brokerProperty.messageGroup)) return 'FIFO';
  if (properties.has(brokerProperty.priority)) return 'PRIORITY';
  return properties.has(brokerProperty.liteTopic) ? 'LITE' : 'NORMAL';
}

function deadLetterQueueOf({ properties }: StoredMessage) {
  const topic = properties.get(brokerProperty.deadLetterTopic);
  const messageId = properties.get(brokerProperty.deadLetterId);
  return topic === undefined || messageId === undefined ? undefined : { topic, messageId };
}
