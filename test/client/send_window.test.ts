// The rules of exactly-once, against a log that does what a group may do at its worst: answers get lost, copies of
// frames arrive late from streams long gone, refusals come for good reasons and for bad ones.
import { expect } from 'chai';
import fc from 'fast-check';
import { type ErrorCode, TLedgerError } from '../../src/base/errors.ts';
import { type Frame, SendWindow } from '../../src/client/send_window.ts';

interface Load {
  readonly name: string;
  readonly count: number;
  readonly sizeBytes: number;
  readonly deadlineMs: number;
  /** Refused by every node, every time. */
  readonly isBad?: boolean;
}

interface Copy {
  readonly producerId: string;
  readonly sequence: number;
  readonly load: Load;
}

function newWindow(countMax = 64, bytesMax = 1_000) {
  const failed = new Map<string, ErrorCode>();
  let ids = 0;
  const window = new SendWindow<Load>({
    countMax,
    bytesMax,
    newProducerId: () => `id${ids++}`,
    fail: (load, error) => {
      expect(failed.has(load.name), `${load.name} fails once`).to.equal(false);
      failed.set(load.name, error.code);
    },
  });
  return { window, failed };
}

const load = (name: string, deadlineMs = 1_000, count = 2): Load => ({ name, count, sizeBytes: 10, deadlineMs });

function place(frame: Frame<Load> | undefined): string {
  return frame === undefined ? 'none' : `${frame.load.name} ${frame.producerId}:${frame.sequence}`;
}

function writeAll(window: SendWindow<Load>): string[] {
  const written: string[] = [];
  for (let frame = window.takeNext(); frame !== undefined; frame = window.takeNext()) written.push(place(frame));
  return written;
}

function filled(...names: string[]) {
  const made = newWindow();
  for (const name of names) made.window.push(load(name));
  return made;
}

describe('client: send window', () => {
  it('numbers frames without gaps, in order', () => {
    const { window } = filled('a', 'b', 'c');
    expect(writeAll(window)).to.deep.equal(['a id0:1', 'b id0:3', 'c id0:5']);
    expect(window.acknowledge()?.name).to.equal('a');
    expect(window.acknowledge()?.name).to.equal('b');
  });

  it('is bounded in frames and in bytes, but takes one frame of any size', () => {
    const { window } = newWindow(2, 25);
    expect(window.hasRoom(1_000)).to.equal(true);
    window.push(load('a'));
    expect(window.hasRoom(15)).to.equal(true);
    expect(window.hasRoom(16)).to.equal(false);
    window.push(load('b'));
    expect(window.hasRoom(0)).to.equal(false);
    writeAll(window);
    window.acknowledge();
    expect(window.hasRoom(15)).to.equal(true);
  });

  it('sends again under the same id and sequence after a lost stream, from the oldest frame on', () => {
    const { window } = filled('a', 'b');
    writeAll(window);
    window.acknowledge();
    window.push(load('c'));
    window.lost();
    expect(writeAll(window)).to.deep.equal(['b id0:3', 'c id0:5']);
  });

  it('sends again unchanged when the node cannot serve now', () => {
    const { window, failed } = filled('a', 'b');
    writeAll(window);
    window.refusedForNow();
    expect(writeAll(window)).to.deep.equal(['a id0:1', 'b id0:3']);
    expect(failed.size).to.equal(0);
  });

  it('fails exactly the refused frame and moves those behind it to a fresh id', () => {
    const { window, failed } = filled('a', 'b', 'c');
    writeAll(window);
    window.acknowledge();
    window.refused(new TLedgerError('TOPIC_NOT_FOUND'));
    expect([...failed]).to.deep.equal([['b', 'TOPIC_NOT_FOUND']]);
    window.push(load('d'));
    expect(writeAll(window)).to.deep.equal(['c id1:1', 'd id1:3']);
  });

  it('calls a refused frame unknown if an earlier try of it may have been appended, and those behind it, too', () => {
    const { window, failed } = filled('a', 'b');
    writeAll(window);
    window.lost();
    window.push(load('c'));
    writeAll(window);
    window.refused(new TLedgerError('TOPIC_NOT_FOUND'));
    expect(Object.fromEntries(failed)).to.deep.equal({
      a: 'OUTCOME_UNKNOWN',
      b: 'OUTCOME_UNKNOWN',
      c: 'OUTCOME_UNKNOWN',
    });
  });

  it('believes a refusal that depends on the bytes alone, even after a lost stream', () => {
    const { window, failed } = filled('a', 'b');
    writeAll(window);
    window.lost();
    writeAll(window);
    window.refused(new TLedgerError('BODY_EMPTY'));
    expect([...failed]).to.deep.equal([['a', 'BODY_EMPTY']]);
    expect(writeAll(window)).to.deep.equal(['b id1:1']);
  });

  it('begins anew when the group has forgotten the producer, failing nothing that was not sent before', () => {
    for (const code of ['UNKNOWN_PRODUCER', 'OUT_OF_ORDER_SEQUENCE'] as const) {
      const { window, failed } = filled('a', 'b', 'c');
      writeAll(window);
      window.acknowledge();
      window.refused(new TLedgerError(code));
      expect(failed.size).to.equal(0);
      expect(writeAll(window)).to.deep.equal(['b id1:1', 'c id1:3']);
    }
  });

  it('does not begin anew over frames whose outcome is unknown', () => {
    const { window, failed } = filled('a', 'b');
    writeAll(window);
    window.acknowledge();
    window.lost();
    writeAll(window);
    window.refused(new TLedgerError('UNKNOWN_PRODUCER'));
    expect([...failed]).to.deep.equal([['b', 'OUTCOME_UNKNOWN']]);
  });

  it('says at the deadline: unknown if it was sent, otherwise what kept it', () => {
    const { window, failed } = filled('a', 'b');
    window.takeNext();
    window.expire(1_000, new TLedgerError('NO_LEADER'));
    expect(Object.fromEntries(failed)).to.deep.equal({ a: 'OUTCOME_UNKNOWN', b: 'NO_LEADER' });
  });

  it('says DEADLINE_EXCEEDED when nothing is known to have kept it', () => {
    const { window, failed } = filled('a');
    window.expire(1_000, undefined);
    expect([...failed]).to.deep.equal([['a', 'DEADLINE_EXCEEDED']]);
  });

  it('says what kept it after a node refused it for now, as it had no effect', () => {
    const { window, failed } = filled('a');
    writeAll(window);
    window.refusedForNow();
    window.expire(1_000, new TLedgerError('NO_LEADER'));
    expect([...failed]).to.deep.equal([['a', 'NO_LEADER']]);
  });

  it('starts a fresh id for what was never sent once a sent frame is given up', () => {
    const { window } = newWindow();
    window.push(load('a', 1_000));
    writeAll(window);
    window.push(load('b', 2_000));
    window.lost();
    window.expire(1_000, undefined);
    expect(writeAll(window)).to.deep.equal(['b id1:1']);
  });

  it('still sends a given-up frame again while a doubtful one behind it needs it', () => {
    const { window, failed } = newWindow();
    window.push(load('a', 1_000));
    window.push(load('b', 2_000));
    writeAll(window);
    window.lost();
    window.expire(1_000, undefined);
    expect([...failed]).to.deep.equal([['a', 'OUTCOME_UNKNOWN']]);
    expect(writeAll(window)).to.deep.equal(['a id0:1', 'b id0:3']);
    expect(window.acknowledge(), 'a was told already').to.equal(undefined);
    expect(window.acknowledge()?.name).to.equal('b');
  });

  it('puts frames of one id only on a stream, and asks for a new one when they are answered', () => {
    const { window, failed } = newWindow();
    window.push(load('a', 2_000));
    writeAll(window);
    window.push(load('b', 1_000));
    window.push(load('c', 2_000));
    window.expire(1_000, new TLedgerError('UNREACHABLE'));
    expect([...failed]).to.deep.equal([['b', 'UNREACHABLE']]);
    expect(window.needsNewStream).to.equal(true);
    expect(writeAll(window), 'while a is unanswered').to.deep.equal([]);
    window.acknowledge();
    expect(writeAll(window), 'on the stream of a').to.deep.equal([]);
    window.closed();
    expect(window.needsNewStream).to.equal(false);
    expect(writeAll(window)).to.deep.equal(['c id1:1']);
  });

  it('keeps exactly-once whatever happens', () => {
    const operation = fc.constantFrom(
      ...(['push', 'push', 'push', 'write', 'write', 'serve', 'serve', 'serve', 'lose', 'not now', 'refuse'] as const),
      ...(['late copy', 'late copy', 'time', 'forget'] as const),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(operation, fc.nat(99)), { minLength: 40, maxLength: 160 }), (operations) => {
        const model = new Model();
        for (const [what, number] of operations) model.step(what, number);
        model.finish();
      }),
      { numRuns: 1_500 },
    );
  });
});

type Operation = 'push' | 'write' | 'serve' | 'lose' | 'not now' | 'refuse' | 'late copy' | 'time' | 'forget';

/** A window before a log with sequence tables, and streams that leave copies of their frames behind. */
class Model {
  readonly #made = newWindow(6, 10_000);
  readonly #acknowledged: string[] = [];
  readonly #log: string[] = [];
  readonly #next = new Map<string, number>();
  /** What the node has of the current stream and not served yet. */
  #stream: Copy[] = [];
  /** Of each ended stream what may still arrive, in order. */
  readonly #late: Copy[][] = [];
  #pushed = 0;
  #now = 0;
  #refusals = 0;

  step(what: Operation, number: number): void {
    const { window } = this.#made;
    switch (what) {
      case 'push':
        if (window.hasRoom(10)) this.#push(number);
        return;
      case 'write': {
        const frame = window.takeNext();
        if (frame !== undefined) this.#stream.push({ ...frame, load: frame.load });
        else if (window.needsNewStream && !window.hasWritten) window.closed();
        const ids = new Set(this.#stream.map(({ producerId }) => producerId));
        expect(ids.size, 'ids on one stream').to.be.at.most(1);
        return;
      }
      case 'serve':
        return this.#serve();
      case 'lose':
        this.#endStream(0);
        return window.lost();
      case 'not now':
        if (!window.hasWritten) return;
        this.#endStream(1);
        return window.refusedForNow();
      case 'refuse':
        if (!window.hasWritten) return;
        return this.#refuse('TOPIC_NOT_FOUND');
      case 'late copy':
        return this.#deliverLate(number);
      case 'time':
        this.#now += number;
        return window.expire(this.#now, undefined);
      case 'forget':
        // A group forgets producers only after a long silence: longer than any frame or copy of one is under way.
        if (window.length === 0 && this.#late.every((copies) => copies.length === 0)) this.#next.clear();
    }
  }

  /** All late copies arrive; then what the senders were told must be true. */
  finish(): void {
    while (this.#late.some((copies) => copies.length > 0)) this.#deliverLate(0);
    const { failed } = this.#made;
    const inLog = (name: string) => this.#log.filter((one) => one === name).length;
    for (let at = 0; at < this.#pushed; at++) expect(inLog(`m${at}`), `copies of m${at}`).to.be.at.most(1);
    for (const name of this.#acknowledged) expect(inLog(name), `${name}, acknowledged`).to.equal(1);
    for (const [name, code] of failed) {
      if (code !== 'OUTCOME_UNKNOWN') expect(inLog(name), `${name}, which failed with ${code}`).to.equal(0);
    }
    if (this.#refusals === 0) {
      const order = this.#acknowledged.map((name) => this.#log.indexOf(name));
      expect(order, 'order of the acknowledged').to.deep.equal([...order].sort((a, b) => a - b));
    }
  }

  #push(number: number): void {
    const name = `m${this.#pushed++}`;
    const deadlineMs = this.#now + 100;
    this.#made.window.push({ name, count: 1 + (number % 3), sizeBytes: 10, deadlineMs, isBad: number > 94 });
  }

  #serve(): void {
    const copy = this.#stream[0];
    if (copy === undefined) return;
    const refusal = this.#apply(copy);
    if (refusal !== undefined) return this.#refuse(refusal);
    this.#stream.shift();
    const load = this.#made.window.acknowledge();
    if (load !== undefined) this.#acknowledged.push(load.name);
  }

  #refuse(code: ErrorCode): void {
    this.#refusals++;
    this.#endStream(1);
    this.#made.window.refused(new TLedgerError(code));
  }

  /** @param answered frames at the head of the stream that were answered and leave no copy. */
  #endStream(answered: number): void {
    this.#late.push(this.#stream.slice(answered));
    this.#stream = [];
  }

  #deliverLate(number: number): void {
    const streams = this.#late.filter((copies) => copies.length > 0);
    const copies = streams[number % Math.max(1, streams.length)];
    const copy = copies?.shift();
    if (copy !== undefined) this.#apply(copy);
  }

  #apply({ producerId, sequence, load }: Copy): ErrorCode | undefined {
    if (load.isBad) return 'INVALID_ARGUMENT';
    const next = this.#next.get(producerId);
    if (next === undefined && sequence !== 1) return 'UNKNOWN_PRODUCER';
    if (sequence > (next ?? 1)) return 'OUT_OF_ORDER_SEQUENCE';
    if (sequence < (next ?? 1)) return undefined;
    this.#next.set(producerId, sequence + load.count);
    this.#log.push(load.name);
    return undefined;
  }
}
