// Finds the topic of a call. What this replica does not know may just not have arrived yet: that it is not there is said
// only after catching up.
import { TLedgerError } from '../../base/errors.ts';
import type { TopicInfo } from '../../broker/types.ts';
import type { Resource } from '../../wire/rocketmq/definitions.ts';
import type { Gateway } from '../gateway.ts';
import type { Asked } from './answering.ts';
import { topicKey } from './namespaces.ts';

/** @throws TLedgerError ILLEGAL_TOPIC, TOPIC_NOT_FOUND, NODE_REMOVED; what catching up throws. */
export async function findTopic(
  gateway: Gateway,
  resource: Resource | null,
  { caller, deadlineMs }: Pick<Asked, 'caller' | 'deadlineMs'>,
): Promise<TopicInfo> {
  const name = topicKey(resource, caller);
  const refusal = gateway.outside();
  if (refusal !== null) throw refusal;
  let topic = gateway.broker.topic(name);
  if (topic === undefined) {
    await gateway.readBarrier(deadlineMs);
    topic = gateway.broker.topic(name);
  }
  if (topic !== undefined) return topic;
  // Programs look for this text, of the days when there was a name server.
  throw new TLedgerError(
    'TOPIC_NOT_FOUND',
    `CODE: 17  DESC: No topic route info in name server for the topic: ${resource?.name}`,
  );
}
