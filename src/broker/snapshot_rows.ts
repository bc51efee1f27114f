// The state's tables as they stand in a snapshot: byte for byte the same on every replica that applied the same records.
// What differs between replicas is left out: how much of its log each one keeps.
//
//                        in the store             in a snapshot
//   q/<topic>/<queue>    [min,max]                [max]           restored as [max,max]: no record is left of it
//   base                 index                    -               restored as the snapshot's index
//   k                    [segment,…]                  -               restored as the index begins behind the base
//   all others           the same
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { encodeMembershipEntry } from '../format/membership.ts';
import { type QueueOffset, queueOffset } from '../format/message.ts';
import { DamageError } from '../storage/damage.ts';
import type { LogTip } from '../storage/log_tip.ts';
import type { Snapshot, SnapshotStore } from '../storage/snapshot_store.ts';
import type { StateEntry } from '../storage/state_store.ts';
import {
  BASE_KEY,
  baseValue,
  KEY_INDEX_KEY,
  QUEUE_PREFIX,
  queueOfKey,
  rangeValue,
  readArray,
  readCount,
  readTables,
  refuseNonsense,
  type StoredTables,
} from './state_tables.ts';
import type { Queue, TopicTable } from './topics.ts';

/** Rows that say how much a replica keeps, and so are no part of a snapshot. */
const localKeys: ReadonlySet<string> = new Set([BASE_KEY, KEY_INDEX_KEY]);

/** Rows of a store as rows of a snapshot, in the order in which they come. @throws whatever `entries` throws. */
export async function* toSnapshotRows(entries: AsyncIterable<StateEntry>): AsyncGenerator<StateEntry> {
  for await (const entry of entries) {
    const [key, value] = entry;
    if (localKeys.has(key)) continue;
    yield key.startsWith(QUEUE_PREFIX) ? [key, lengthValue(key, value)] : entry;
  }
}

/** A snapshot, read completely and found to make sense. */
export interface SnapshotState {
  readonly tables: StoredTables;
  /** What the store becomes. */
  readonly rows: ReadonlyMap<string, string>;
}

/** Reads and checks all of a snapshot. @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED */
export function readSnapshot(snapshot: Snapshot, entries: Iterable<StateEntry> = snapshot.rows()): SnapshotState {
  const { tip, membership } = snapshot.meta;
  const rows = new Map<string, string>([[BASE_KEY, baseValue(tip.index)]]);
  for (const [key, value] of entries) {
    refuseNonsense(key, () => assert(!localKeys.has(key), 'it is local'));
    const max = key.startsWith(QUEUE_PREFIX) ? readLength(key, value) : null;
    rows.set(key, max === null ? value : rangeValue(max, max));
  }
  const tables = readTables(rows);
  const named = tables.membership === null ? Buffer.alloc(0) : encodeMembershipEntry(tables.membership);
  if (tables.applied !== tip.index || !named.equals(membership)) {
    throw new TLedgerError('DATA_CORRUPTED', `the snapshot at ${tip.index} has the rows of ${tables.applied}`);
  }
  return { tables, rows };
}

/** Opens the snapshot that stands for the records up to a log's base, and has it read. @throws TLedgerError DATA_CORRUPTED */
export function withSnapshotAt<T>(snapshots: SnapshotStore, base: LogTip, read: (snapshot: Snapshot) => T): T {
  const snapshot = snapshots.open(base.index);
  try {
    const { tip } = snapshot.meta;
    if (tip.term !== base.term || tip.chainCrc !== base.chainCrc) {
      const reason = `it is not that of record ${base.index} of this log`;
      throw new DamageError({ kind: 'snapshot', file: `snapshot/${base.index}`, index: base.index, reason });
    }
    return read(snapshot);
  } finally {
    snapshot.close();
  }
}

/** Length of a queue at the snapshot's tip. */
export interface QueueLength {
  readonly topic: string;
  readonly queueId: number;
  readonly length: QueueOffset;
}

/** The lengths of all queues that held a message by then. @throws TLedgerError DATA_CORRUPTED, STORAGE_FAILED */
export function* queueLengths(entries: Iterable<StateEntry>): Generator<QueueLength> {
  for (const [key, value] of entries) {
    if (key.startsWith(QUEUE_PREFIX)) yield { ...queueOfKey(key), length: readLength(key, value) };
    // Rows are sorted: those of the queues are done with.
    else if (key > QUEUE_PREFIX) return;
  }
}

/** A queue whose messages before `length` go when the log is cut. */
export interface QueueCut {
  readonly queue: Queue;
  readonly length: QueueOffset;
}

/**
 * The queues that lose messages when the log is cut at a snapshot's tip.
 * @throws TLedgerError DATA_CORRUPTED when the snapshot is not of these queues, or damaged; STORAGE_FAILED.
 */
export function queueCuts(snapshot: Snapshot, entries: Iterable<StateEntry>, topics: TopicTable): QueueCut[] {
  const cuts: QueueCut[] = [];
  for (const { topic, queueId, length } of queueLengths(entries)) {
    const queue = topics.get(topic)?.queues[queueId];
    if (queue === undefined || length > queue.units.max) {
      const { index } = snapshot.meta.tip;
      throw new TLedgerError('DATA_CORRUPTED', `queue ${queueId} of topic ${topic} had ${length} messages at ${index}`);
    }
    if (length > queue.units.min) cuts.push({ queue, length });
  }
  return cuts;
}

function lengthValue(key: string, value: string): string {
  return refuseNonsense(key, () => JSON.stringify([readCount(readArray(JSON.parse(value))[1])]));
}

function readLength(key: string, value: string): QueueOffset {
  return refuseNonsense(key, () => {
    const [max, ...others] = readArray(JSON.parse(value));
    assert(others.length === 0, 'a snapshot says how long a queue is, and no more');
    return queueOffset(readCount(max));
  });
}
