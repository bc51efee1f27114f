// A producer that never gives up: it numbers its messages and repeats each until it is acknowledged, as a client does.
// And what must hold when it is done: everything acknowledged is there once, in order, the same on every replica.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import type { NodeId } from '../../src/raft/types.ts';
import { batchOf, DIRECTORY, type Group, SEGMENT_SIZE_BYTES } from './group.ts';

const RETRY_MS = 3;

export interface LoadOptions {
  readonly topic?: string;
  readonly queueId?: number;
  readonly producerId?: string;
  /** Bytes of a body. */
  readonly bodyBytes?: number;
  /** How long one attempt may take. */
  readonly timeoutMs?: number;
}

/** Settles into a code: 'ok', or the code of the error. */
export function outcome(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'ok',
    (error: unknown) => (error instanceof TLedgerError ? error.code : String(error)),
  );
}

/** Body number `sequence` of a load. */
export const bodyOf = (sequence: number, bytes: number): string => `m${sequence}:`.padEnd(bytes, '.');

/** See the head of the file. */
export class Load {
  /** The last message acknowledged; all before it are, too. */
  acknowledged = 0;
  /** Longest time between two acknowledgements since `resetGap`. */
  gapMsMax = 0;
  /** Codes that attempts ended with. */
  readonly codes = new Map<string, number>();
  readonly #group: Group;
  readonly #options: Required<LoadOptions>;
  #lastMs = 0;
  #isRunning = false;

  constructor(group: Group, options: LoadOptions = {}) {
    this.#group = group;
    const defaults = { topic: 'T', queueId: 0, producerId: '00000000000000aa', bodyBytes: 1_000, timeoutMs: 300 };
    this.#options = { ...defaults, ...options };
  }

  start(): this {
    this.#isRunning = true;
    this.resetGap();
    this.#attempt();
    return this;
  }

  resetGap(): void {
    this.gapMsMax = 0;
    this.#lastMs = this.#group.clock.monotonicMs();
  }

  /** Ends after the attempt under way. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    await this.#group.run(this.#options.timeoutMs + 100);
  }

  /** Runs until so many more messages are acknowledged. */
  async more(count: number, maxMs = 60_000): Promise<void> {
    const goal = this.acknowledged + count;
    await this.#group.until(`message ${goal} to be acknowledged`, () => this.acknowledged >= goal, maxMs);
  }

  #attempt(): void {
    if (!this.#isRunning) return;
    const { topic, queueId, producerId, bodyBytes, timeoutMs } = this.#options;
    const leader = this.#group.leader();
    const again = (): void => void this.#group.clock.after(RETRY_MS, () => this.#attempt());
    if (leader === null) return again();
    const sequence = this.acknowledged + 1;
    const request = batchOf(topic, [bodyOf(sequence, bodyBytes)], producerId, sequence, queueId);
    const life = this.#group.member(leader).life;
    let isSettled = false;
    const settle = (code: string): void => {
      if (isSettled) return;
      isSettled = true;
      this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
      if (code !== 'ok') return again();
      this.acknowledged = sequence;
      const nowMs = this.#group.clock.monotonicMs();
      this.gapMsMax = Math.max(this.gapMsMax, nowMs - this.#lastMs);
      this.#lastMs = nowMs;
      this.#attempt();
    };
    // A client notices that its server is gone.
    void outcome(this.#group.append(leader, request, timeoutMs)).then((code) => {
      if (this.#group.member(leader).life === life) settle(code);
    });
    this.#group.clock.after(timeoutMs + 60, () => settle('SILENCE'));
  }
}

/** Waits until these replicas have applied everything, and compares all that they hold. */
export async function expectConverged(group: Group, ids: readonly NodeId[] = group.living()): Promise<void> {
  await group.until(
    `${ids.join(', ')} to hold the same`,
    () => {
      const ends = ids.map((id) => {
        expect(group.member(id).failure, id).to.equal(null);
        const { appliedIndex, lastIndex } = group.replica(id).status();
        return appliedIndex === lastIndex ? lastIndex : -1;
      });
      return ends[0] !== -1 && new Set(ends).size === 1;
    },
    20_000,
  );
  const [first, ...others] = ids as [NodeId, ...NodeId[]];
  for (const id of others) {
    expect(group.replica(id).broker.topics(), id).to.deep.equal(group.replica(first).broker.topics());
    expectSameFiles(group, first, id);
  }
}

/** Segments and snapshots that both have are the same, byte for byte, as far as records go. */
function expectSameFiles(group: Group, one: NodeId, other: NodeId): void {
  const filesOf = (id: NodeId, folder: string): Map<string, Buffer> => {
    const { disk } = group.member(id);
    const pattern = new RegExp(`^${DIRECTORY}/${folder}/\\d{20}$`);
    return new Map(
      disk
        .files()
        .filter((path) => pattern.test(path))
        .map((path) => [path, disk.bytes(path)]),
    );
  };
  const end = group.replica(one).status().endPosition;
  expect(group.replica(other).status().endPosition).to.equal(end);
  for (const folder of ['commitlog', 'snapshot']) {
    const ours = filesOf(one, folder);
    for (const [path, bytes] of filesOf(other, folder)) {
      const twin = ours.get(path);
      if (twin === undefined) continue;
      const length = folder === 'snapshot' ? bytes.length : Math.min(SEGMENT_SIZE_BYTES, end - Number(path.slice(-20)));
      const isSame = twin.subarray(0, length).equals(bytes.subarray(0, length));
      expect(isSame, `${path} on ${one} and ${other}`).to.equal(true);
    }
  }
}

/** Every message that was acknowledged is there once, in order, as far as the log goes back. */
export function expectAcknowledged(group: Group, load: Load, options: LoadOptions = {}, ids = group.living()): void {
  const { topic = 'T', queueId = 0, bodyBytes = 1_000 } = options;
  for (const id of ids) {
    const { min } = group.replica(id).broker.range(topic, queueId);
    const bodies = group.bodies(id, topic, queueId);
    const length = min + bodies.length;
    expect(length, `messages on ${id}`).to.be.within(load.acknowledged, load.acknowledged + 1);
    const expected = Array.from({ length: bodies.length }, (_, at) => bodyOf(min + at + 1, bodyBytes));
    const wrong = bodies.findIndex((body, at) => body !== expected[at]);
    expect(wrong, `${bodies[wrong]?.slice(0, 20)} instead of ${expected[wrong]?.slice(0, 20)} on ${id}`).to.equal(-1);
  }
}
