// Topics and groups as clients name them, and as they are called here (ROCKETMQ §3.2). Clients do not agree on where a
// namespace stands: in the name's own field, or in a header of the call. Both mean the same here:
//
//   namespace 'shop', topic 'orders'          ──►  shop%orders
//   namespace 'shop', topic '%DLQ%billing'    ──►  %DLQ%shop%billing     (what belongs to a group goes with its group)
import { checkGroupName } from '../../broker/consuming/groups.ts';
import { checkTopicName } from '../../format/limits.ts';
import type { Resource } from '../../wire/rocketmq/definitions.ts';
import type { Caller } from './caller.ts';

const GROUP_PREFIXES = ['%DLQ%', '%RETRY%'];

function keyOf(resource: Resource | null | undefined, { namespace: ofCall }: Pick<Caller, 'namespace'>): string {
  const { resourceNamespace = '', name = '' } = resource ?? {};
  const namespace = resourceNamespace || ofCall;
  if (namespace === '' || name === '') return name;
  const prefix = GROUP_PREFIXES.find((one) => name.startsWith(one)) ?? '';
  return `${prefix}${namespace}%${name.slice(prefix.length)}`;
}

/** What the topic is called here. @throws TLedgerError ILLEGAL_TOPIC */
export function topicKey(resource: Resource | null | undefined, caller: Pick<Caller, 'namespace'>): string {
  checkTopicName(resource?.name ?? '');
  const key = keyOf(resource, caller);
  checkTopicName(key);
  return key;
}

/** What the consumer group is called here. @throws TLedgerError ILLEGAL_GROUP */
export function groupKey(resource: Resource | null | undefined, caller: Pick<Caller, 'namespace'>): string {
  checkGroupName(resource?.name ?? '');
  const key = keyOf(resource, caller);
  checkGroupName(key);
  return key;
}
