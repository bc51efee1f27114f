// Lite topics: very many small ones under a parent topic of type lite, made when something is first sent to them (ROCKETMQ
// §5.9). Each is a queue of its parent: allotted in the order in which they come, first those that the parent was created
// with, then new ones. So each is in order, and each group has its own position in it, with all that queues have already.
//
//   parent created with 2 queues     0 1
//   first lite topics a, b, c        0=a 1=b 2=c        the parent has 3 queues now
import { assert } from '../../base/assert.ts';
import { TLedgerError } from '../../base/errors.ts';
import { ChangedRows, type RowChanges, readRows, type StateTable } from '../state_table.ts';
import { readCount } from '../state_tables.ts';

/** Bytes of a lite topic's name. */
export const LITE_TOPIC_BYTES_MAX = 64;

const NAME_PATTERN = /^[a-zA-Z0-9_-]+$/;
const PREFIX = 'l/';

/** A lite topic comes to be, unless it is there: `{"v":1,"type":"add-lite","name":…,"lite":…}`. */
export interface AddLite {
  readonly type: 'add-lite';
  /** The parent topic. */
  readonly name: string;
  readonly lite: string;
}

/** Checks the name of a lite topic. @throws TLedgerError ILLEGAL_LITE_TOPIC */
export function checkLiteName(name: string): void {
  if (name.trim() === '') throw new TLedgerError('ILLEGAL_LITE_TOPIC', 'the name of the lite topic is empty');
  const sizeBytes = Buffer.byteLength(name);
  if (sizeBytes > LITE_TOPIC_BYTES_MAX) {
    throw new TLedgerError(
      'ILLEGAL_LITE_TOPIC',
      `the name of the lite topic has ${sizeBytes} bytes; at most ${LITE_TOPIC_BYTES_MAX} are allowed`,
    );
  }
  if (!NAME_PATTERN.test(name)) {
    throw new TLedgerError(
      'ILLEGAL_LITE_TOPIC',
      `the lite topic ${JSON.stringify(name)} has characters beside a-zA-Z0-9_-`,
    );
  }
}

/** All lite topics: rows `l/<parent>/<lite>` = queue. */
export class LiteTable implements StateTable {
  readonly prefix = PREFIX;
  readonly #parents = new Map<string, Map<string, number>>();
  readonly #changed = new ChangedRows();

  /** The queue of a lite topic; undefined when there is none of that name. */
  queueOf(parent: string, lite: string): number | undefined {
    return this.#parents.get(parent)?.get(lite);
  }

  /** Lite topics of a parent. */
  count(parent: string): number {
    return this.#parents.get(parent)?.size ?? 0;
  }

  /** Lite topics of a parent and their queues, in the order in which they came. */
  list(parent: string): ReadonlyMap<string, number> {
    return this.#parents.get(parent) ?? new Map();
  }

  /** Allots the next queue, unless it has one. @returns the queue. */
  add(parent: string, lite: string): number {
    const known = this.queueOf(parent, lite);
    if (known !== undefined) return known;
    const queueId = this.count(parent);
    this.#put(parent, lite, queueId);
    this.#changed.mark(`${PREFIX}${parent}/${lite}`);
    return queueId;
  }

  /** The parent goes. */
  forget(parent: string): void {
    for (const lite of this.list(parent).keys()) this.#changed.mark(`${PREFIX}${parent}/${lite}`);
    this.#parents.delete(parent);
  }

  takeChanges(into: RowChanges): void {
    this.#changed.take(into, (key) => {
      const queueId = this.queueOf(...partsOf(key));
      return queueId === undefined ? null : String(queueId);
    });
  }

  restore(rows: ReadonlyMap<string, string>): void {
    const read: [parent: string, lite: string, queueId: number][] = [];
    readRows(rows, (key, value) => read.push([...partsOf(key), readCount(value)]));
    this.#parents.clear();
    for (const one of read.sort(([, , a], [, , b]) => a - b)) this.#put(...one);
    this.#changed.clear();
  }

  #put(parent: string, lite: string, queueId: number): void {
    const ofParent = this.#parents.get(parent) ?? new Map<string, number>();
    ofParent.set(lite, queueId);
    this.#parents.set(parent, ofParent);
  }
}

function partsOf(key: string): [parent: string, lite: string] {
  const [, parent, lite, ...rest] = key.split('/');
  assert(parent !== undefined && lite !== undefined && rest.length === 0, 'a row of a lite topic has two names');
  return [parent, lite];
}
