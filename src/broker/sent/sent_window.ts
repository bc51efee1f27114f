// Message ids seen lately. Official RocketMQ clients send a message again, with the same id, whenever they did not hear
// what became of it; whoever finds the id here was there before, on whatever node, and gets the first answer. The window
// moves with the messages themselves (their store times), so it is the same on every replica.
//
//   w!<block> = [[id, topic, at, index, queue, offset]…]      blocks of up to 256 ids, named by the index of the first
//
//   | block 7 | block 8 | … | block 31 |      a block goes when its last id is older than the window, or when all blocks
//    oldest                    filled now     together are larger than the bound
import { assert } from '../../base/assert.ts';
import { type LogIndex, logIndex } from '../../raft/types.ts';
import { ChangedRows, type RowChanges, readRows, type StateTable } from '../state_table.ts';
import { readArray, readCount } from '../state_tables.ts';

/** Where a message went. */
export interface SentMessage {
  readonly id: string;
  readonly topic: string;
  /** Store time. */
  readonly atMs: number;
  readonly index: LogIndex;
  readonly queueId: number;
  /** In its queue; 0 for what is held back. */
  readonly offset: number;
}

/** Bounds of the window: part of the replicated state's meaning, the same on all members. */
export interface SentWindowLimits {
  readonly windowMs: number;
  readonly bytesMax: number;
}

/** What holds unless said otherwise. */
export const sentWindowLimits: SentWindowLimits = { windowMs: 60_000, bytesMax: 32 * 1_048_576 };

const BLOCK_COUNT = 256;
/** About what one id costs beside its text. */
const ENTRY_BYTES = 160;
const PREFIX = 'w!';
const INDEX_DIGITS = 16;
const keyOf = (block: number): string => PREFIX + String(block).padStart(INDEX_DIGITS, '0');
const nameOf = (topic: string, id: string): string => `${topic}\n${id}`;

interface Block {
  readonly firstIndex: number;
  readonly messages: SentMessage[];
  sizeBytes: number;
}

/** See the head of the file. */
export class SentWindow implements StateTable {
  readonly prefix = PREFIX;
  readonly #limits: SentWindowLimits;
  readonly #byName = new Map<string, SentMessage>();
  readonly #changed = new ChangedRows();
  #blocks: Block[] = [];
  #sizeBytes = 0;

  constructor(limits: SentWindowLimits = sentWindowLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#byName.size;
  }

  /** Where the message of that id went, if it is remembered. */
  find(topic: string, id: string): SentMessage | undefined {
    return this.#byName.get(nameOf(topic, id));
  }

  /** Remembers a message that was applied, and forgets what its time pushes out. Times never go back. */
  add(message: SentMessage): void {
    this.#expire(message.atMs - this.#limits.windowMs);
    let block = this.#blocks.at(-1);
    if (block === undefined || block.messages.length === BLOCK_COUNT) {
      block = { firstIndex: message.index, messages: [], sizeBytes: 0 };
      this.#blocks.push(block);
    }
    this.#take(block, message);
    this.#changed.mark(keyOf(block.firstIndex));
    while (this.#sizeBytes > this.#limits.bytesMax && this.#blocks.length > 1) this.#drop();
  }

  takeChanges(into: RowChanges): void {
    const byKey = new Map(this.#blocks.map((block) => [keyOf(block.firstIndex), block]));
    this.#changed.take(into, (key) => {
      const block = byKey.get(key);
      if (block === undefined) return null;
      return JSON.stringify(
        block.messages.map(({ id, topic, atMs, index, queueId, offset }) => [id, topic, atMs, index, queueId, offset]),
      );
    });
  }

  restore(rows: ReadonlyMap<string, string>): void {
    const read = new SentWindow(this.#limits);
    readRows(rows, (key, value) => {
      const firstIndex = readCount(Number(key.slice(PREFIX.length)));
      assert(firstIndex > (read.#blocks.at(-1)?.firstIndex ?? 0), 'blocks come in their order');
      const block: Block = { firstIndex, messages: [], sizeBytes: 0 };
      read.#blocks.push(block);
      for (const row of readArray(value)) read.#take(block, readMessage(row));
    });
    this.#byName.clear();
    for (const [name, message] of read.#byName) this.#byName.set(name, message);
    this.#blocks = read.#blocks;
    this.#sizeBytes = read.#sizeBytes;
    this.#changed.clear();
  }

  #take(block: Block, message: SentMessage): void {
    const sizeBytes = ENTRY_BYTES + 2 * (message.id.length + message.topic.length);
    block.messages.push(message);
    block.sizeBytes += sizeBytes;
    this.#sizeBytes += sizeBytes;
    this.#byName.set(nameOf(message.topic, message.id), message);
  }

  #expire(beforeMs: number): void {
    while (this.#blocks.length > 0 && this.#blocks[0]!.messages.at(-1)!.atMs < beforeMs) this.#drop();
  }

  #drop(): void {
    const block = this.#blocks.shift()!;
    this.#sizeBytes -= block.sizeBytes;
    for (const message of block.messages) {
      const name = nameOf(message.topic, message.id);
      if (this.#byName.get(name) === message) this.#byName.delete(name);
    }
    this.#changed.mark(keyOf(block.firstIndex));
  }
}

function readMessage(row: unknown): SentMessage {
  const [id, topic, ...numbers] = readArray(row);
  assert(typeof id === 'string' && typeof topic === 'string', 'a message that was sent has an id and a topic');
  const [atMs, index, queueId, offset] = numbers.map(readCount);
  assert(offset !== undefined, 'a message that was sent has a place');
  return { id, topic, atMs: atMs!, index: logIndex(index!), queueId: queueId!, offset };
}
