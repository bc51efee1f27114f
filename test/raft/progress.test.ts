import { expect } from 'chai';
import fc from 'fast-check';
import { Inflight } from '../../src/raft/inflight.ts';
import { restartsPerRoundMax } from '../../src/raft/limits.ts';
import { Progress } from '../../src/raft/progress.ts';
import { SnapshotSending } from '../../src/raft/snapshot_sending.ts';
import { type LogIndex, logIndex, term } from '../../src/raft/types.ts';

const at = (index: number): LogIndex => logIndex(index);

function progressAt(next: number, connected = true): Progress {
  const inflight = new Inflight({ countMax: 3, bytesMax: 100 });
  return new Progress({ peer: 'n1', next: at(next), connected, inflight, nowMs: 0 });
}

/** A follower that has everything up to `match` and is sent what comes after it. */
function replicating(match: number): Progress {
  const progress = progressAt(match + 1);
  progress.acknowledged(at(match));
  return progress;
}

describe('raft/progress: the window', () => {
  it('never holds more than its bounds, frees in order, and counts like the obvious model', () => {
    const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 60 })), { maxLength: 60 });
    fc.assert(
      fc.property(steps, (inputs) => {
        const window = new Inflight({ countMax: 3, bytesMax: 100 });
        let model: { last: number; size: number }[] = [];
        let last = 0;
        for (const [send, value] of inputs) {
          const bytes = model.reduce((sum, { size }) => sum + size, 0);
          const fits = model.length === 0 || (model.length < 3 && bytes + value <= 100);
          if (send) {
            expect(window.admits(value) && window.count < 3).to.equal(fits);
            if (!fits) continue;
            window.add(at(++last), value);
            model.push({ last, size: value });
          } else {
            const upTo = last - (value % 4);
            window.freeUpTo(at(Math.max(0, upTo)));
            model = model.filter((message) => message.last > upTo);
          }
          expect([window.count, window.bytes]).to.deep.equal([
            model.length,
            model.reduce((sum, { size }) => sum + size, 0),
          ]);
        }
      }),
    );
  });

  it('lets one message of any size through when it is empty, so that a large record is not stuck', () => {
    const window = new Inflight({ countMax: 3, bytesMax: 100 });
    expect(window.admits(5000)).to.equal(true);
    window.add(at(1), 5000);
    expect(window.admits(1)).to.equal(false);
    expect(window.roomBytes).to.equal(0);
    window.freeUpTo(at(1));
    expect(window.roomBytes).to.equal(100);
  });

  it('refuses to be overrun or filled out of order', () => {
    const window = new Inflight({ countMax: 1, bytesMax: 100 });
    window.add(at(5), 1);
    expect(() => window.add(at(6), 1)).to.throw('never overrun');
    const wide = new Inflight({ countMax: 3, bytesMax: 100 });
    wide.add(at(5), 1);
    expect(() => wide.add(at(5), 1)).to.throw('rise in index');
  });
});

describe('raft/progress: one follower', () => {
  it('begins as a probe, one message at a time', () => {
    const progress = progressAt(8);
    expect(progress.status(false)).to.include({ state: 'probe', match: 0, next: 8 });
    progress.sent(at(9), 10);
    expect(progress.maySend).to.equal(false);
    progress.roundPassed();
    expect(progress.maySend).to.equal(true);
    expect(progress.inflight.count).to.equal(0);
  });

  it('an unanswered probe goes out ever more rarely, and as soon as before once there is an answer', () => {
    const progress = progressAt(8);
    /** In which of the next rounds the probe goes out again. */
    const rounds = (count: number): number[] => {
      const seen: number[] = [];
      for (let round = 1; round <= count; round++) {
        progress.roundPassed();
        if (!progress.maySend) continue;
        progress.sent(at(9), 10);
        seen.push(round);
      }
      return seen;
    };
    progress.sent(at(9), 10);
    expect(rounds(31)).to.deep.equal([1, 3, 7, 15, 23, 31]);
    progress.answered(4, 100);
    expect(rounds(7)).to.deep.equal([1, 3, 7]);
  });

  it('an answer that reaches next - 1 starts the pipeline behind the outstanding probe', () => {
    const progress = progressAt(8);
    progress.sent(at(9), 10);
    expect(progress.acknowledged(at(7))).to.equal(true);
    expect(progress.status(false)).to.include({ state: 'replicate', match: 7, next: 10 });
    expect(progress.inflight.count).to.equal(1);
    progress.acknowledged(at(9));
    expect(progress.inflight.count).to.equal(0);
  });

  it('an answer below next - 1 does not: it says nothing about the record before next', () => {
    const progress = progressAt(8);
    progress.acknowledged(at(3));
    expect(progress.status(false)).to.include({ state: 'probe', match: 3, next: 8 });
  });

  it('next moves as messages are sent while replicating', () => {
    const progress = replicating(7);
    progress.sent(at(10), 10);
    progress.sent(at(12), 10);
    expect(progress.status(false)).to.include({ match: 7, next: 13 });
    expect(progress.acknowledged(at(10))).to.equal(true);
    expect(progress.acknowledged(at(10)), 'repeated').to.equal(false);
    expect(progress.acknowledged(at(8)), 'late').to.equal(false);
    expect(progress.status(false)).to.include({ match: 10, next: 13 });
    expect(progress.inflight.count).to.equal(1);
  });

  for (const { name, from, prevIndex, hint, accepted, next } of [
    {
      name: 'a refusal backs up to the hint',
      from: () => progressAt(8),
      prevIndex: 7,
      hint: 4,
      accepted: true,
      next: 4,
    },
    { name: 'but never forward', from: () => progressAt(8), prevIndex: 7, hint: 9, accepted: true, next: 7 },
    {
      name: 'nor below what is acknowledged',
      from: () => replicating(7),
      prevIndex: 9,
      hint: 2,
      accepted: true,
      next: 8,
    },
    {
      name: 'one of something else is stale (probe)',
      from: () => progressAt(8),
      prevIndex: 5,
      hint: 2,
      accepted: false,
      next: 8,
    },
    {
      name: 'one of acknowledged records is stale',
      from: () => replicating(7),
      prevIndex: 7,
      hint: 2,
      accepted: false,
      next: 8,
    },
  ]) {
    it(name, () => {
      const progress = from();
      const { match } = progress;
      expect(progress.rejected(at(prevIndex), hint)).to.equal(accepted);
      expect(progress.status(false)).to.include({ match, next });
    });
  }

  it('a refusal while replicating falls back to probing, with an empty window', () => {
    const progress = replicating(7);
    progress.sent(at(10), 10);
    progress.rejected(at(10), 9);
    expect(progress.status(false)).to.include({ state: 'probe', match: 7, next: 9 });
    expect(progress.inflight.count).to.equal(0);
  });

  it('a dropped connection forgets what was under way and starts after what is acknowledged', () => {
    const progress = replicating(7);
    progress.sent(at(10), 10);
    progress.disconnect();
    expect(progress.status(false)).to.include({ state: 'probe', next: 8, connected: false });
    expect([progress.maySend, progress.inflight.count]).to.deep.equal([false, 0]);
    progress.connect();
    expect(progress.maySend).to.equal(true);
  });

  it('a probe that is interrupted goes on from where it was, not from the beginning of the log', () => {
    const progress = progressAt(1_000_000);
    progress.disconnect();
    progress.connect();
    expect(progress.next).to.equal(1_000_000);
  });

  it('refuses to send out of order or when it may not', () => {
    expect(() => replicating(7).sent(at(7), 1)).to.throw('in order');
    expect(() => progressAt(8, false).sent(at(8), 1)).to.throw('in order');
  });
});

describe('raft/progress: a snapshot', () => {
  const point = { index: at(20), term: term(2) };

  function sending(): Progress {
    const progress = progressAt(8);
    progress.sendSnapshot(point);
    return progress;
  }

  it('is sent instead of records until the follower holds its last one', () => {
    const progress = sending();
    expect(progress.status(false)).to.include({ state: 'snapshot', next: 8, snapshotOffset: 0 });
    expect(progress.maySend).to.equal(false);
    progress.acknowledged(at(12));
    expect(progress.status(false)).to.include({ state: 'snapshot', match: 12, next: 13 });
    progress.acknowledged(at(20));
    expect(progress.status(false)).to.include({ state: 'replicate', match: 20, next: 21, snapshotOffset: null });
  });

  it('refusals of heartbeats do not end it', () => {
    const progress = sending();
    expect(progress.rejected(at(20), 5)).to.equal(false);
    expect(progress.status(false)).to.include({ state: 'snapshot', next: 8 });
  });

  it('a dropped connection does: the answers to probes tell anew what is needed', () => {
    const progress = sending();
    progress.disconnect();
    expect(progress.status(false)).to.include({ state: 'probe', next: 8, snapshotOffset: null });
    progress.connect();
    expect(progress.maySend).to.equal(true);
  });

  it('empties the window of what was under way', () => {
    const progress = replicating(7);
    progress.sent(at(10), 10);
    progress.sendSnapshot(point);
    expect(progress.inflight.count).to.equal(0);
  });

  it('never goes to a follower that is sent what comes after it', () => {
    expect(() => progressAt(21).sendSnapshot(point)).to.throw('covers what is to be sent next');
  });
});

describe('raft/progress: a snapshot piece by piece', () => {
  it('goes on where the answer says, at once if that is further', () => {
    const sending = new SnapshotSending({ index: at(20), term: term(2) });
    expect([sending.maySend, sending.offset]).to.deep.equal([true, 0]);
    sending.sent();
    expect(sending.maySend).to.equal(false);
    sending.answered(300);
    expect([sending.maySend, sending.offset]).to.deep.equal([true, 300]);
  });

  it('answers that bring nothing new release no piece', () => {
    const sending = new SnapshotSending({ index: at(20), term: term(2) });
    sending.sent();
    sending.answered(100);
    sending.sent();
    sending.answered(100);
    sending.answered(100);
    expect(sending.maySend).to.equal(false);
    sending.roundPassed();
    expect(sending.maySend).to.equal(true);
    sending.answered(500);
    expect(sending.offset, 'nothing is under way').to.equal(100);
  });

  it('a follower that threw everything away gets it again, after the pause', () => {
    const sending = new SnapshotSending({ index: at(20), term: term(2) });
    sending.sent();
    sending.answered(100);
    sending.sent();
    sending.answered(0);
    expect([sending.maySend, sending.offset]).to.deep.equal([false, 0]);
    sending.roundPassed();
    expect(sending.maySend).to.equal(true);
  });
});

describe('raft/progress: refusals that overtake', () => {
  it('start the pipeline anew a bounded number of times a round, so that windows and refusals do not feed each other', () => {
    const progress = replicating(7);
    /** Sends, is refused behind what was sent, and hears an old acknowledgement again. @returns whether anything may go out. */
    const refused = (): boolean => {
      progress.sent(at(8), 10);
      progress.rejected(at(8), 8);
      progress.acknowledged(at(7));
      return progress.maySend;
    };
    for (let restart = 1; restart < restartsPerRoundMax; restart++) expect(refused()).to.equal(true);
    expect(refused()).to.equal(false);
    expect(progress.isReplicating).to.equal(false);
    progress.roundPassed();
    expect(progress.maySend).to.equal(true);
    progress.acknowledged(at(7));
    expect(progress.isReplicating).to.equal(true);
  });
});

describe('raft/progress: keeping up', () => {
  it('takes reaching an end of the log in time, and having done so lately', () => {
    const progress = replicating(7);
    progress.acknowledged(at(8));
    progress.measure(at(100), 400, 500);
    expect(progress.isCaughtUp(400, 500)).to.equal(true);
    expect(progress.isCaughtUp(901, 500), 'the next stretch takes too long').to.equal(false);
    progress.acknowledged(at(100));
    progress.measure(at(200), 1000, 500);
    expect(progress.isCaughtUp(1000, 500)).to.equal(false);
    progress.acknowledged(at(200));
    progress.measure(at(300), 1100, 500);
    expect(progress.isCaughtUp(1100, 500)).to.equal(true);
    progress.disconnect();
    expect(progress.isCaughtUp(1100, 500)).to.equal(false);
    progress.connect();
    progress.acknowledged(at(300));
    expect(progress.isCaughtUp(1100, 500), 'what it did before counts no more').to.equal(false);
  });
});
