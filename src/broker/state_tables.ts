// How the broker's tables stand in the state store: one entry a row, JSON values. Snapshots: snapshot_rows.ts.
//
//   applied             {"v":1,"index":…,"storedAtMs":…}      the log index these tables are the result of, and the
//                                                             latest store time of a message up to there
//   base                index                                 local: where the log was cut, as far as the queues' minima
//                                                             know; missing for a log that was never cut
//   m                   {"v":1,"index":…,"voters":…}          the last membership record (format/membership.ts)
//   k                   [segment,file,entries,begin,end,…]    local: how far the key index had come; missing without one
//   t/<topic>           {"queues":…,"createdAtMs":…,"messageType":…}
//   q/<topic>/<queue>   [min,max]                             only queues that ever held a message; min is local
//   p/<producer id>     [[firstSequence,count,topic,queueId,firstOffset,firstIndex],…]      oldest run first
//   g/ c/ l/ o/ p! e! w!     rows of the tables that keep their own (tables.ts)
import { assert } from '../base/assert.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { decodeMembershipEntry, encodeMembershipEntry } from '../format/membership.ts';
import { type QueueOffset, queueOffset } from '../format/message.ts';
import { physicalOffset } from '../format/record.ts';
import { type LogIndex, logIndex, type MembershipEntry } from '../raft/types.ts';
import type { KeyIndexPlace } from '../storage/key_index.ts';
import { Producer } from './producers.ts';
import type { Queue, TopicTable } from './topics.ts';
import { type TopicInfo, type TopicType, topicOf, topicTypes } from './types.ts';

const STATE_VERSION = 1;
/** Rows of tables that keep their own: groups, progress, lite topics, their owners, messages held back, ended transactions, message ids. */
const OTHER_ROWS = /^(?:g\/|c\/|[lo]\/|[pew]!)/;
/** Key of the index that the tables are the result of. */
export const APPLIED_KEY = 'applied';
/** Key of the index at which the log was cut. */
export const BASE_KEY = 'base';
/** Key of the membership's row. */
export const MEMBERSHIP_KEY = 'm';
/** Key of the row that says how far the key index had come. */
export const KEY_INDEX_KEY = 'k';
/** Begins the key of a queue's row. */
export const QUEUE_PREFIX = 'q/';

/** Key of a topic's row. */
export const topicKey = (name: string): string => `t/${name}`;
/** Key of a queue's row. */
export const queueKey = (queue: Queue): string => `q/${queue.topic.info.name}/${queue.queueId}`;
/** Key of a producer's row. */
export const producerKey = (id: string): string => `p/${id}`;

/** The applied index as stored. */
export const appliedValue = (index: LogIndex, storedAtMs: number): string =>
  JSON.stringify({ v: STATE_VERSION, index, ...(storedAtMs > 0 && { storedAtMs }) });
/** The base as stored. */
export const baseValue = (index: LogIndex): string => String(index);
/** The key index's row. */
export const keyIndexValue = (place: KeyIndexPlace): string =>
  JSON.stringify(keyIndexFields.map((field) => place[field]));
const keyIndexFields = ['segment', 'ordinal', 'entries', 'beginMs', 'endMs', 'crc', 'slots', 'entriesMax'] as const;
/** The membership's row. */
export const membershipValue = (entry: MembershipEntry): string => encodeMembershipEntry(entry).toString();
/** A topic's row. */
export const topicValue = (topic: TopicInfo): string =>
  JSON.stringify({ queues: topic.queues, createdAtMs: topic.createdAtMs, messageType: topic.messageType });
/** A queue's row: which offsets it holds. */
export const queueValue = (queue: Queue): string => rangeValue(queue.units.min, queue.units.max);
/** The row of a queue that holds these offsets. */
export const rangeValue = (min: QueueOffset, max: QueueOffset): string => JSON.stringify([min, max]);

/** A producer's row: its runs, oldest first. */
export function producerValue(producer: Producer): string {
  return JSON.stringify(
    producer.runs.map((run) => [
      run.firstSequence,
      run.count,
      run.queue.topic.info.name,
      run.queue.queueId,
      run.firstOffset,
      run.firstIndex,
    ]),
  );
}

/** Ranges of the queues of one topic, by queue number. */
export type QueueRanges = Map<number, { readonly min: QueueOffset; readonly max: QueueOffset }>;

/** Stored tables, read but not yet joined: producers name queues by topic and number. */
export interface StoredTables {
  readonly applied: LogIndex;
  /** The latest store time of a message up to there; 0 before the first, and where it was not known yet. */
  readonly storedAtMs: number;
  /** Where the log was cut, as far as the minima know. */
  readonly base: LogIndex;
  /** How far the key index had come; null without one. */
  readonly keyIndex: KeyIndexPlace | null;
  readonly membership: MembershipEntry | null;
  readonly topics: readonly TopicInfo[];
  readonly ranges: ReadonlyMap<string, QueueRanges>;
  /** Rows by producer id. */
  readonly producers: ReadonlyMap<string, readonly unknown[]>;
  /** Rows of the tables that keep their own (tables.ts). */
  readonly others: ReadonlyMap<string, string>;
}

/** Reads what a store holds. @throws TLedgerError DATA_CORRUPTED when an entry makes no sense. */
export function readTables(entries: ReadonlyMap<string, string>): StoredTables {
  const tables = {
    applied: logIndex(0),
    storedAtMs: 0,
    base: logIndex(0),
    keyIndex: null as KeyIndexPlace | null,
    membership: null as MembershipEntry | null,
    topics: [] as TopicInfo[],
    ranges: new Map<string, QueueRanges>(),
    producers: new Map<string, readonly unknown[]>(),
    others: new Map<string, string>(),
  };
  for (const [key, value] of entries) {
    refuseNonsense(key, () => {
      const parsed: unknown = JSON.parse(value);
      if (key === APPLIED_KEY) Object.assign(tables, readApplied(parsed));
      else if (key === BASE_KEY) tables.base = logIndex(readCount(parsed));
      else if (key === KEY_INDEX_KEY) tables.keyIndex = readKeyIndexPlace(parsed);
      else if (key === MEMBERSHIP_KEY) tables.membership = decodeMembershipEntry(Buffer.from(value));
      else if (key.startsWith('t/')) tables.topics.push(readTopic(key.slice(2), parsed));
      else if (key.startsWith(QUEUE_PREFIX)) readRange(key, parsed, tables.ranges);
      else if (key.startsWith('p/')) tables.producers.set(key.slice(2), readArray(parsed));
      else {
        assert(OTHER_ROWS.test(key), 'the entry belongs to a known table');
        tables.others.set(key, value);
      }
    });
  }
  return tables;
}

/** Makes the stored producers anew on the queues that they name. @throws TLedgerError DATA_CORRUPTED */
export function joinProducers(tables: StoredTables, topics: TopicTable): Producer[] {
  return [...tables.producers].map(([id, rows]) =>
    refuseNonsense(producerKey(id), () => {
      const runs = rows.map((row) => {
        const [firstSequence, count, topic, queueId, firstOffset, firstIndex] = readArray(row);
        assert(typeof topic === 'string', 'a run names its topic');
        return {
          firstSequence: readCount(firstSequence),
          count: readCount(count),
          queue: topics.queue(topic, readCount(queueId)),
          firstOffset: readCount(firstOffset),
          firstIndex: readCount(firstIndex),
        };
      });
      return new Producer(id, runs);
    }),
  );
}

/** The queue that a key is of. @throws InvariantError when it is of none. */
export function queueOfKey(key: string): { readonly topic: string; readonly queueId: number } {
  const [, topic, queueId, ...rest] = key.split('/');
  assert(topic !== undefined && queueId !== undefined && rest.length === 0, 'a queue has a topic and a number');
  return { topic, queueId: readCount(Number(queueId)) };
}

function readApplied(parsed: unknown): Pick<StoredTables, 'applied' | 'storedAtMs'> {
  const { v, index, storedAtMs = 0 } = parsed as Record<string, unknown>;
  assert(v === STATE_VERSION, `tables of version ${String(v)} are not understood`);
  return { applied: logIndex(readCount(index)), storedAtMs: readCount(storedAtMs) };
}

function readKeyIndexPlace(parsed: unknown): KeyIndexPlace {
  const numbers = readArray(parsed);
  assert(numbers.length === keyIndexFields.length && numbers.every(Number.isSafeInteger), 'a place has its numbers');
  const [segment, ordinal, entries, beginMs, endMs, crc, slots, entriesMax] = numbers as number[];
  assert(entries! >= -1, 'there are as many entries as there are');
  return {
    segment: physicalOffset(readCount(segment)),
    ordinal: readCount(ordinal),
    entries: entries!,
    beginMs: readCount(beginMs),
    endMs: readCount(endMs),
    crc: readCount(crc),
    slots: readCount(slots),
    entriesMax: readCount(entriesMax),
  };
}

function readTopic(name: string, parsed: unknown): TopicInfo {
  const { queues, createdAtMs, messageType } = parsed as { readonly [key in keyof TopicInfo]?: unknown };
  const wish = { name, queues: readCount(queues), messageType: readTopicType(messageType) };
  return topicOf(wish, readCount(createdAtMs));
}

/** A topic's type as stored; absent for mixed. @throws InvariantError */
export function readTopicType(value: unknown): TopicType {
  if (value === undefined) return 'mixed';
  const known = topicTypes.find((type) => type === value);
  assert(known !== undefined, 'a topic is of a known type');
  return known;
}

function readRange(key: string, parsed: unknown, ranges: Map<string, QueueRanges>): void {
  const { topic, queueId } = queueOfKey(key);
  const [min, max] = readArray(parsed).map(readCount);
  assert(min !== undefined && max !== undefined && min <= max, 'a queue ends where it begins or later');
  const ofTopic: QueueRanges = ranges.get(topic) ?? new Map();
  ofTopic.set(queueId, { min: queueOffset(min), max: queueOffset(max) });
  ranges.set(topic, ofTopic);
}

/** A list. @throws InvariantError */
export function readArray(value: unknown): readonly unknown[] {
  assert(Array.isArray(value), 'the value is a list');
  return value;
}

/** A count. @throws InvariantError */
export function readCount(value: unknown): number {
  assert(Number.isSafeInteger(value) && (value as number) >= 0, 'the value is a count');
  return value as number;
}

/** Names the entry that made no sense. @throws TLedgerError DATA_CORRUPTED when `read` throws. */
export function refuseNonsense<T>(key: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new TLedgerError('DATA_CORRUPTED', `the state entry ${JSON.stringify(key)}: ${messageOf(error)}`, error);
  }
}
