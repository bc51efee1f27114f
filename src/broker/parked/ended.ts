// How transactions ended, so that whoever says it again hears that it is done, and whoever says the opposite does not. The
// last ones only: a new one pushes out the oldest. By their number, not by time: commands have none.
//
//   e!<block> = [[id, topic, committed?]…]      blocks of up to 256, named by the record that ended the first one
import { assert } from '../../base/assert.ts';
import type { LogIndex } from '../../raft/types.ts';
import { ChangedRows, type RowChanges, readRows, type StateTable } from '../state_table.ts';
import { readArray, readCount } from '../state_tables.ts';

/** How a transaction ended. */
export type Resolution = 'commit' | 'rollback';

/** A transaction that ended. */
export interface EndedTransaction {
  readonly topic: string;
  /** The message id of its half. */
  readonly id: string;
  readonly resolution: Resolution;
}

/** Transactions that are remembered at least: part of the replicated state's meaning, the same on all members. */
export const ENDED_TRANSACTIONS_MIN = 65_536;

const BLOCK_COUNT = 256;
const PREFIX = 'e!';
const INDEX_DIGITS = 16;
const keyOf = (firstIndex: number): string => PREFIX + String(firstIndex).padStart(INDEX_DIGITS, '0');
const nameOf = (topic: string, id: string): string => `${topic}\n${id}`;

interface Block {
  readonly firstIndex: number;
  readonly ended: EndedTransaction[];
}

/** See the head of the file. */
export class EndedTransactions implements StateTable {
  readonly prefix = PREFIX;
  readonly #countMin: number;
  readonly #byName = new Map<string, EndedTransaction>();
  readonly #changed = new ChangedRows();
  #blocks: Block[] = [];

  constructor(countMin = ENDED_TRANSACTIONS_MIN) {
    this.#countMin = countMin;
  }

  get count(): number {
    return this.#byName.size;
  }

  /** How the transaction ended, if that is remembered. */
  find(topic: string, id: string): Resolution | undefined {
    return this.#byName.get(nameOf(topic, id))?.resolution;
  }

  /** Record `index` ended it. */
  add(ended: EndedTransaction, index: LogIndex): void {
    let block = this.#blocks.at(-1);
    if (block === undefined || block.ended.length === BLOCK_COUNT) {
      block = { firstIndex: index, ended: [] };
      this.#blocks.push(block);
      if ((this.#blocks.length - 2) * BLOCK_COUNT >= this.#countMin) this.#drop();
    }
    this.#take(block, ended);
    this.#changed.mark(keyOf(block.firstIndex));
  }

  takeChanges(into: RowChanges): void {
    const byKey = new Map(this.#blocks.map((block) => [keyOf(block.firstIndex), block]));
    this.#changed.take(into, (key) => {
      const rows = byKey
        .get(key)
        ?.ended.map(({ id, topic, resolution }) => [id, topic, resolution === 'commit' ? 1 : 0]);
      return rows === undefined ? null : JSON.stringify(rows);
    });
  }

  restore(rows: ReadonlyMap<string, string>): void {
    const read = new EndedTransactions(this.#countMin);
    readRows(rows, (key, value) => {
      const firstIndex = readCount(Number(key.slice(PREFIX.length)));
      assert(firstIndex > (read.#blocks.at(-1)?.firstIndex ?? 0), 'blocks come in their order');
      const block: Block = { firstIndex, ended: [] };
      read.#blocks.push(block);
      for (const row of readArray(value)) read.#take(block, readEnded(row));
    });
    this.#byName.clear();
    for (const [name, ended] of read.#byName) this.#byName.set(name, ended);
    this.#blocks = read.#blocks;
    this.#changed.clear();
  }

  #take(block: Block, ended: EndedTransaction): void {
    block.ended.push(ended);
    this.#byName.set(nameOf(ended.topic, ended.id), ended);
  }

  #drop(): void {
    const block = this.#blocks.shift()!;
    for (const ended of block.ended) {
      const name = nameOf(ended.topic, ended.id);
      // The same id may have ended again since.
      if (this.#byName.get(name) === ended) this.#byName.delete(name);
    }
    this.#changed.mark(keyOf(block.firstIndex));
  }
}

function readEnded(row: unknown): EndedTransaction {
  const [id, topic, committed] = readArray(row);
  assert(typeof id === 'string' && typeof topic === 'string', 'a transaction that ended has an id and a topic');
  assert(committed === 0 || committed === 1, 'a transaction ended one way or the other');
  return { id, topic, resolution: committed === 1 ? 'commit' : 'rollback' };
}
