import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { type LogIndex, logIndex, type Term, term } from '../../src/raft/types.ts';
import { PendingQueue } from '../../src/replica/pending.ts';
import { Waiters } from '../../src/replica/waiters.ts';

describe('callers who wait for the commit', () => {
  /** Adds a caller with records first..last of `ofTerm`; its answers gather in the returned list. */
  function wait(
    waiters: Waiters,
    first: number,
    last: number,
    ofTerm: number,
    { leadership = ofTerm, deadlineMs = 100, isRepeat = false } = {},
  ) {
    const answers: string[] = [];
    const settle = (error: TLedgerError | null): void => void answers.push(error === null ? 'done' : error.code);
    const indexes = { firstIndex: logIndex(first), lastIndex: logIndex(last) };
    waiters.push({ ...indexes, isRepeat, deadlineMs, settle }, term(ofTerm), term(leadership));
    return answers;
  }
  const terms =
    (...list: number[]) =>
    (index: LogIndex): Term =>
      term(list[index - 1]!);

  const outcomes: readonly { what: string; applied: readonly number[]; answer: string }[] = [
    { what: 'all its records were applied', applied: [1, 1, 1], answer: 'done' },
    { what: 'none of them were', applied: [1, 2, 2], answer: 'NOT_LEADER' },
    { what: 'only the first ones were: nobody may call that nothing', applied: [1, 1, 2], answer: 'OUTCOME_UNKNOWN' },
  ];
  for (const { what, applied, answer } of outcomes) {
    it(`${what}: ${answer}`, () => {
      const waiters = new Waiters();
      const answers = wait(waiters, 2, 3, 1);
      waiters.release(logIndex(2), terms(...applied));
      expect(answers).to.deep.equal([]);
      waiters.release(logIndex(3), terms(...applied));
      expect(answers).to.deep.equal([answer]);
      expect(waiters.length).to.equal(0);
    });
  }

  it('are not told that a repeated request had no effect: the first one may have had it', () => {
    const waiters = new Waiters();
    const answers = wait(waiters, 2, 3, 1, { isRepeat: true });
    waiters.release(logIndex(3), terms(1, 2, 2));
    expect(answers).to.deep.equal(['OUTCOME_UNKNOWN']);
  });

  it('are not held up by those of an earlier leadership who wait for a higher index', () => {
    const waiters = new Waiters();
    const old = wait(waiters, 1_000, 1_000, 1);
    const fresh = wait(waiters, 2, 2, 3);
    waiters.release(logIndex(2), terms(1, 3));
    expect([old, fresh]).to.deep.equal([[], ['done']]);
    waiters.expire(100);
    expect(old).to.deep.equal(['OUTCOME_UNKNOWN']);
  });

  it('are answered once, whatever comes later', () => {
    const waiters = new Waiters();
    const answers = [wait(waiters, 1, 1, 1, { deadlineMs: 10 }), wait(waiters, 2, 2, 1, { deadlineMs: 99 })];
    waiters.expire(10);
    waiters.release(logIndex(2), terms(1, 1));
    waiters.expire(1_000);
    expect(answers).to.deep.equal([['OUTCOME_UNKNOWN'], ['done']]);
  });
});

describe('requests that wait for the leader', () => {
  it('are let go of once they are taken, although others always wait', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const queue = new PendingQueue({ countMax: 10, bytesMax: 1024 });
    const taken: WeakRef<object>[] = [];
    const add = (): void => {
      const request = { topic: 'T', queueId: 0, producerId: '', sequence: 0, records: Buffer.alloc(64) };
      taken.push(new WeakRef(request));
      queue.push({ kind: 'append', request, deadlineMs: 1, done: () => {} });
    };
    add();
    for (let round = 0; round < 500; round++) {
      add();
      queue.shift();
    }
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    expect(queue.length).to.equal(1);
    expect(taken.filter((reference) => reference.deref() !== undefined)).to.have.length.below(10);
  });

  it('are refused beyond the bounds, in count and in bytes', () => {
    const request = { topic: 'T', queueId: 0, producerId: '', sequence: 0, records: Buffer.alloc(600) };
    const item = { kind: 'append', request, deadlineMs: 1, done: () => {} } as const;
    const byBytes = new PendingQueue({ countMax: 10, bytesMax: 1024 });
    byBytes.push(item);
    expect(() => byBytes.push(item))
      .to.throw()
      .with.property('code', 'OVERLOADED');
    const byCount = new PendingQueue({ countMax: 1, bytesMax: 1_000_000 });
    byCount.push(item);
    expect(() => byCount.push(item))
      .to.throw()
      .with.property('code', 'OVERLOADED');
  });
});
