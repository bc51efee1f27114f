// How many queues a topic has, as the group said last, and which of them a message goes to.
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import type { MetadataResponse, Topic } from '../wire/ledger_messages.ts';
import { ledgerService } from '../wire/services.ts';
import type { Cluster } from './cluster.ts';

/**
 * The queue for a key: CRC-32 (IEEE) of its UTF-8 bytes, modulo the number of queues. The same for every client, and
 * for as long as the topic keeps its number of queues.
 */
export function queueOfKey(key: string | Buffer, queues: number): number {
  return crc32(typeof key === 'string' ? Buffer.from(key) : key) % queues;
}

/** How metadata is asked for. */
export interface MetadataQuery {
  readonly timeoutMs?: number | undefined;
  /**
   * Whether the answer has to show all that was committed when the question came, which takes a leader with a majority;
   * otherwise it shows what the node knows, which may lag behind.
   */
  readonly current: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Asks for members, leader and topics. @throws TLedgerError NO_LEADER, DEADLINE_EXCEEDED for a current answer, and others. */
export async function fetchMetadata(
  cluster: Cluster,
  topics: readonly string[],
  { current, ...call }: MetadataQuery,
): Promise<MetadataResponse> {
  const metadata = await cluster.call(ledgerService.metadata, { topics, current }, call);
  cluster.noteLeader(metadata.leader);
  cluster.noteMembers({ index: metadata.membershipIndex, members: metadata.members });
  return metadata;
}

/**
 * One topic and what its queues hold.
 * @throws TLedgerError TOPIC_NOT_FOUND (for good only if the answer is current), and what `fetchMetadata` throws.
 */
export async function fetchTopic(cluster: Cluster, name: string, query: MetadataQuery): Promise<Topic> {
  const { topics } = await fetchMetadata(cluster, [name], query);
  const topic = topics.find((one) => one.name === name);
  if (topic === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `the topic "${name}" does not exist`);
  return topic;
}

/**
 * How many queues a topic has. There may be more of them by now, never fewer, and all of them go on being queues: any node
 * that knows the topic will do. That there is no such topic is believed only when the answer is current.
 * @throws TLedgerError as `fetchTopic`.
 */
export async function fetchQueueCount(cluster: Cluster, name: string, timeoutMs: number): Promise<number> {
  const untilMs = Date.now() + timeoutMs;
  try {
    return (await fetchTopic(cluster, name, { current: false, timeoutMs })).queues;
  } catch (error) {
    if (!(error instanceof TLedgerError && error.code === 'TOPIC_NOT_FOUND')) throw error;
  }
  const leftMs = Math.max(1, untilMs - Date.now());
  return (await fetchTopic(cluster, name, { current: true, timeoutMs: leftMs })).queues;
}
