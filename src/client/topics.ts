// How many queues a topic has, as the group said last, and which of them a message goes to.
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import type { MetadataResponse, Topic } from '../wire/ledger_messages.ts';
import { ledgerService } from '../wire/services.ts';
import { sleep } from './backoff.ts';
import type { Cluster } from './cluster.ts';

/** A topic that was just created may not have reached every node: how long "not found" is doubted, and how often. */
const DOUBT_MS = 600;
const DOUBT_STEP_MS = 100;

/**
 * The queue for a key: CRC-32 (IEEE) of its UTF-8 bytes, modulo the number of queues. The same for every client, and
 * for as long as the topic keeps its number of queues.
 */
export function queueOfKey(key: string | Buffer, queues: number): number {
  return crc32(typeof key === 'string' ? Buffer.from(key) : key) % queues;
}

/** Asks for metadata. With `fromLeader`, asks the leader itself when the first answer came from another node. */
export async function fetchMetadata(
  cluster: Cluster,
  topics: readonly string[],
  options: {
    readonly timeoutMs?: number | undefined;
    readonly fromLeader?: boolean;
    readonly signal?: AbortSignal;
  } = {},
): Promise<MetadataResponse> {
  const { timeoutMs, signal } = options;
  const first = await cluster.call(ledgerService.metadata, { topics }, { timeoutMs, signal });
  cluster.noteLeader(first.leader);
  if (options.fromLeader !== true || first.leader === null || first.leader.nodeId === first.nodeId) return first;
  // The connection to the leader has just been begun: it stands in a moment, or the answer of the first node must do.
  for (let waitedMs = 0; waitedMs < DOUBT_MS && cluster.leaderEndpoint() === undefined; waitedMs += 10) {
    await sleep(10, signal);
  }
  return cluster.call(ledgerService.metadata, { topics }, { timeoutMs, signal });
}

/**
 * One topic and what its queues hold.
 * @throws TLedgerError TOPIC_NOT_FOUND, and what `Cluster.call` throws.
 */
export async function fetchTopic(
  cluster: Cluster,
  name: string,
  options: {
    readonly timeoutMs?: number | undefined;
    readonly fromLeader?: boolean;
    readonly signal?: AbortSignal;
  } = {},
): Promise<Topic> {
  const untilMs = Date.now() + Math.min(DOUBT_MS, options.timeoutMs ?? DOUBT_MS);
  for (;;) {
    try {
      const { topics } = await fetchMetadata(cluster, [name], options);
      const topic = topics.find((one) => one.name === name);
      if (topic !== undefined) return topic;
      if (Date.now() >= untilMs) throw new TLedgerError('TOPIC_NOT_FOUND', `the topic "${name}" does not exist`);
    } catch (error) {
      const isAbsent = error instanceof TLedgerError && error.code === 'TOPIC_NOT_FOUND';
      if (!isAbsent || Date.now() >= untilMs) throw error;
    }
    await sleep(DOUBT_STEP_MS, options.signal);
  }
}
