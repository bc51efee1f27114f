// How much a broker holds and hands out. Limits of messages and batches are in format/limits.ts.
import { assert } from '../base/assert.ts';

/** Bounds of one group's broker. */
export interface BrokerLimits {
  /** Topics of the group. */
  readonly topicsMax: number;
  readonly queuesPerTopicMax: number;
  /** Queues of all topics together. */
  readonly queuesTotalMax: number;
  /** Lite topics of one parent topic; each has a queue. */
  readonly liteTopicsMax: number;
  /**
   * Idempotent producers that are remembered; beyond it the one that has been silent for the most records is forgotten.
   * Part of the replicated state's meaning: the same on all members.
   */
  readonly producersMax: number;
  /** Runs of messages a producer's repeats are answered from with their offsets. The same on all members. */
  readonly producerRunsMax: number;
  /** Messages that are held back (delayed, halves of transactions) beyond which the leader takes no further ones. */
  readonly parkedMax: number;
  /** Open consume queue files. */
  readonly openQueueFilesMax: number;
  /** Most messages and most bytes one pull returns; one message may exceed the bytes. */
  readonly pullCountMax: number;
  readonly pullBytesMax: number;
  /** Most bytes that one read of the log asks for, unless a single record is larger. */
  readonly readBytesMax: number;
  /** Foreign bytes between two wanted records that are read along rather than skipped with a second read. */
  readonly readGapBytesMax: number;
}

/** What holds unless said otherwise. */
export const defaultBrokerLimits: BrokerLimits = {
  topicsMax: 10_000,
  queuesPerTopicMax: 1_024,
  queuesTotalMax: 65_536,
  liteTopicsMax: 10_000,
  producersMax: 10_000,
  producerRunsMax: 128,
  parkedMax: 2_000_000,
  openQueueFilesMax: 256,
  pullCountMax: 4_096,
  pullBytesMax: 4 * 1_048_576,
  readBytesMax: 1_048_576,
  readGapBytesMax: 4_096,
};

/** The defaults with some replaced. @throws InvariantError when a limit is no positive integer or they contradict. */
export function brokerLimits(some: Partial<BrokerLimits> = {}): BrokerLimits {
  const limits = { ...defaultBrokerLimits, ...some };
  for (const [name, value] of Object.entries(limits)) {
    assert(Number.isSafeInteger(value) && value > 0, () => `${name} must be a positive integer`);
  }
  assert(limits.readGapBytesMax < limits.readBytesMax, 'a gap that is read along fits into one read');
  return limits;
}
