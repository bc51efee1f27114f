// Messages that are held back: delayed ones until they are due, halves of transactions until they are resolved. Their
// records are in the log; the table says where, and what is to become of them. What brings a message into its queue is
// another record, which carries the effect `release <index>`; what drops one is a command.
//
//   p!<index> = [kind, position, size, dueMs, checks, topic, id]
//
// kind 0: delayed until dueMs. kind 1: a half, whose producer is asked at dueMs, for the checks-th time.
import { assert } from '../../base/assert.ts';
import { type PhysicalOffset, physicalOffset } from '../../format/record.ts';
import { type LogIndex, logIndex } from '../../raft/types.ts';
import { ChangedRows, type RowChanges, readRows, type StateTable } from '../state_table.ts';
import { readArray, readCount } from '../state_tables.ts';

/** A message that is held back. */
export interface Parked {
  /** Of its record: names it. */
  readonly index: LogIndex;
  readonly kind: 'delayed' | 'half';
  /** Where the whole record lies in the log. */
  readonly position: PhysicalOffset;
  readonly sizeBytes: number;
  /** Wall clock: when it is due, or when its producer is to be asked next. */
  readonly dueMs: number;
  /** How often its producer was asked. */
  readonly checks: number;
  readonly topic: string;
  /** The message id; '' if it has none. */
  readonly id: string;
}

const PREFIX = 'p!';
const INDEX_DIGITS = 16;
const nameOf = (topic: string, id: string): string => `${topic}\n${id}`;
const keyOf = (index: LogIndex): string => PREFIX + String(index).padStart(INDEX_DIGITS, '0');

/** Whether a row of a snapshot tells of a message that was held back then: its record lies below the snapshot. */
export const isParkedRow = (key: string): boolean => key.startsWith(PREFIX);

/** All of them, by index. Who drives them (the leader) is told of each that comes, changes or goes. */
export class ParkedTable implements StateTable {
  readonly prefix = PREFIX;
  readonly #parked = new Map<LogIndex, Parked>();
  /** Halves by topic and message id: that is how their producers speak of them. */
  readonly #halves = new Map<string, LogIndex>();
  readonly #halfIndexes = new Set<LogIndex>();
  readonly #changed = new ChangedRows();
  readonly #listeners = new Set<(index: LogIndex) => void>();

  get count(): number {
    return this.#parked.size;
  }

  get(index: LogIndex): Parked | undefined {
    return this.#parked.get(index);
  }

  /** The half of that message id; undefined when there is none (any more). */
  half(topic: string, id: string): Parked | undefined {
    const index = this.#halves.get(nameOf(topic, id));
    return index === undefined ? undefined : this.#parked.get(index);
  }

  values(): IterableIterator<Parked> {
    return this.#parked.values();
  }

  /** All halves whose producers may be asked. */
  *halves(): Generator<Parked> {
    for (const index of this.#halfIndexes) yield this.#parked.get(index)!;
  }

  /** The oldest record that is still needed; null when none is held back. They come in the order of the log. */
  get firstIndex(): LogIndex | null {
    for (const index of this.#parked.keys()) return index;
    return null;
  }

  /** Adds one whose record was applied. */
  add(parked: Parked): void {
    assert(!this.#parked.has(parked.index), () => `record ${parked.index} is held back once`);
    this.#put(parked);
    this.#note(parked.index);
  }

  /** Its producer was asked, and will be again. */
  checked(index: LogIndex, nextMs: number): void {
    const half = this.#parked.get(index);
    assert(half?.kind === 'half', () => `record ${index} is no half of a transaction`);
    this.#parked.set(index, { ...half, dueMs: nextMs, checks: half.checks + 1 });
    this.#note(index);
  }

  /** It was released or dropped. */
  remove(index: LogIndex): void {
    const parked = this.#parked.get(index);
    assert(parked !== undefined, () => `record ${index} is not held back`);
    this.#parked.delete(index);
    const name = nameOf(parked.topic, parked.id);
    if (this.#halves.get(name) === index) this.#halves.delete(name);
    this.#halfIndexes.delete(index);
    this.#note(index);
  }

  /** Calls `listener` after each change of one of them, until the returned function is called. */
  onChange(listener: (index: LogIndex) => void): () => void {
    const entry = (index: LogIndex): void => listener(index);
    this.#listeners.add(entry);
    return () => {
      this.#listeners.delete(entry);
    };
  }

  takeChanges(into: RowChanges): void {
    this.#changed.take(into, (key) => {
      const parked = this.#parked.get(logIndex(Number(key.slice(PREFIX.length))));
      if (parked === undefined) return null;
      const { kind, position, sizeBytes, dueMs, checks, topic, id } = parked;
      return JSON.stringify([kind === 'half' ? 1 : 0, position, sizeBytes, dueMs, checks, topic, id]);
    });
  }

  restore(rows: ReadonlyMap<string, string>): void {
    const read: Parked[] = [];
    readRows(rows, (key, value) => {
      const row = readArray(value);
      const [kind, position, sizeBytes, dueMs, checks] = row.slice(0, 5).map(readCount);
      const [topic, id] = row.slice(5);
      assert(kind === 0 || kind === 1, 'what is held back is of a known kind');
      assert(typeof topic === 'string' && typeof id === 'string', 'what is held back has a topic and an id');
      read.push({
        index: logIndex(readCount(Number(key.slice(PREFIX.length)))),
        kind: kind === 1 ? 'half' : 'delayed',
        position: physicalOffset(position!),
        sizeBytes: readCount(sizeBytes),
        dueMs: readCount(dueMs),
        checks: readCount(checks),
        topic,
        id,
      });
    });
    this.#parked.clear();
    this.#halves.clear();
    this.#halfIndexes.clear();
    for (const parked of read.sort((a, b) => a.index - b.index)) this.#put(parked);
    this.#changed.clear();
  }

  #put(parked: Parked): void {
    this.#parked.set(parked.index, parked);
    if (parked.kind !== 'half') return;
    this.#halves.set(nameOf(parked.topic, parked.id), parked.index);
    this.#halfIndexes.add(parked.index);
  }

  #note(index: LogIndex): void {
    this.#changed.mark(keyOf(index));
    for (const listener of this.#listeners) listener(index);
  }
}
