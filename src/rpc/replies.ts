// What the broker knows, as the messages that clients get.
import type { Broker } from '../broker/broker.ts';
import type { AppendResult, QueueRange, TopicInfo } from '../broker/types.ts';
import { decodeMessageRecord, type StoredMessage } from '../format/message.ts';
import { magicAt, recordMagic, sizeAt } from '../format/record.ts';
import type { AppendResponse, Leader, MetadataResponse, StoredMessageFields, Topic } from '../wire/ledger_messages.ts';
import type { Gateway, LeaderInfo } from './gateway.ts';

/** Null while nobody leads. */
export function toLeader(leader: LeaderInfo | null): Leader | null {
  if (leader === null) return null;
  return { nodeId: leader.nodeId, clientAddress: leader.clientAddress, term: String(leader.term) };
}

/** The answer to a unary append. */
export function toAppendResponse(result: AppendResult, leader: Leader | null): AppendResponse {
  return {
    queueOffset: String(result.queueOffset),
    count: result.count,
    lastIndex: String(result.lastIndex),
    repeated: result.repeated,
    leader,
    flush: result.flush ?? '',
  };
}

/** A topic with the offsets its queues hold on this replica. */
export function toTopic(info: TopicInfo, ranges: readonly QueueRange[]): Topic {
  return {
    name: info.name,
    queues: info.queues,
    createdTimestamp: String(info.createdAtMs),
    messageType: info.messageType ?? 'mixed',
    ranges: ranges.map(({ queueId, min, max }) => ({ queue: queueId, minOffset: String(min), maxOffset: String(max) })),
  };
}

/** What the queues of a topic hold on this replica. */
export function rangesOf(broker: Broker, info: TopicInfo): QueueRange[] {
  return Array.from({ length: info.queues }, (_, queueId) => broker.range(info.name, queueId));
}

/** @param names topics to tell of, unknown ones left out; all of them when empty. */
export function toMetadata(gateway: Gateway, names: readonly string[]): MetadataResponse {
  const { broker } = gateway;
  const infos = names.length === 0 ? broker.topics() : names.flatMap((name) => broker.topic(name) ?? []);
  return {
    cluster: gateway.cluster,
    group: gateway.group,
    nodeId: gateway.nodeId,
    leader: toLeader(gateway.leader()),
    members: gateway.members.members.map(({ nodeId, clientAddress, peerAddress, role }) => {
      return { nodeId, clientAddress, peerAddress, role };
    }),
    topics: infos.map((info) => toTopic(info, rangesOf(broker, info))),
    membershipIndex: String(gateway.members.index),
  };
}

/** The messages of one queue among the records of a pull, which may hold those of others in between. */
export function toStoredMessages(
  records: Buffer,
  topic: string,
  queue: number,
  fromOffset: number,
): StoredMessageFields[] {
  const messages: StoredMessageFields[] = [];
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    if (magicAt(records, at) !== recordMagic.message) continue;
    const message = decodeMessageRecord(records, at, at + sizeAt(records, at));
    if (message === undefined || message.topic !== topic || message.queueId !== queue) continue;
    if (message.queueOffset < fromOffset) continue;
    messages.push(toStoredMessage(message));
  }
  return messages;
}

/** One message outside of its record. */
export function toStoredMessage(message: StoredMessage): StoredMessageFields {
  return {
    queueOffset: String(message.queueOffset),
    body: message.body,
    tag: message.tag ?? '',
    keys: message.keys,
    properties: Object.fromEntries(message.properties),
    bornTimestamp: String(message.bornAtMs),
    storeTimestamp: String(message.storedAtMs),
    queue: message.queueId,
  };
}
