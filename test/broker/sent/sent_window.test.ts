import { expect } from 'chai';
import { SentWindow } from '../../../src/broker/sent/sent_window.ts';
import { logIndex } from '../../../src/raft/types.ts';

const limits = { windowMs: 1_000, bytesMax: 1_000_000 };
const sent = (number: number, atMs = number, topic = 't') => ({
  id: `id${number}`,
  topic,
  atMs,
  index: logIndex(number),
  queueId: 0,
  offset: number,
});

function filled(count: number, some: Partial<typeof limits> = {}): SentWindow {
  const window = new SentWindow({ ...limits, ...some });
  for (let number = 1; number <= count; number++) window.add(sent(number));
  return window;
}

/** A store: what checkpoints made of it. */
function store(rows: Map<string, string>, window: SentWindow): Map<string, string> {
  const changes = new Map<string, string | null>();
  window.takeChanges(changes);
  for (const [key, value] of changes) {
    if (value === null) rows.delete(key);
    else rows.set(key, value);
  }
  return new Map([...rows].sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe('broker: message ids seen lately', () => {
  it('remembers where a message went, by topic and id', () => {
    const window = filled(3);
    expect(window.find('t', 'id2')).to.include({ index: 2, offset: 2 });
    expect(window.find('other', 'id2')).to.equal(undefined);
    expect(window.find('t', 'id4')).to.equal(undefined);
  });

  it('forgets whole blocks that are older than the window, and nothing younger', () => {
    const window = filled(600);
    // Blocks of 256: the first one ends with 256.
    window.add(sent(1_255, 1_255));
    expect([window.find('t', 'id1') === undefined, window.find('t', 'id256') === undefined]).to.deep.equal([
      false,
      false,
    ]);
    window.add(sent(1_257, 1_257));
    expect([window.find('t', 'id256'), window.find('t', 'id257')?.index]).to.deep.equal([undefined, 257]);
  });

  it('is bounded in bytes', () => {
    const window = filled(20_000, { windowMs: 1_000_000, bytesMax: 500_000 });
    expect(window.count).to.be.within(1_000, 4_000);
    expect(window.find('t', 'id20000')?.offset).to.equal(20_000);
  });

  it('is the same after a restart at any time: same answers, same rows from then on', () => {
    for (const restartAt of [1, 255, 256, 257, 700, 1_900]) {
      const one = new SentWindow(limits);
      let other = new SentWindow(limits);
      let rows = new Map<string, string>();
      let otherRows = new Map<string, string>();
      for (let number = 1; number <= 2_500; number++) {
        const message = sent(number, number * 2);
        one.add(message);
        other.add(message);
        if (number % 97 === 0) rows = store(rows, one);
        if (number % 61 === 0 || number === restartAt) otherRows = store(otherRows, other);
        if (number === restartAt) {
          other = new SentWindow(limits);
          other.restore(otherRows);
        }
      }
      expect(store(otherRows, other), `restarted at ${restartAt}`).to.deep.equal(store(rows, one));
      expect(other.count).to.equal(one.count);
      expect(other.find('t', 'id2400')).to.deep.equal(one.find('t', 'id2400'));
    }
  });

  it('refuses rows that make no sense', () => {
    for (const value of ['{}', '[[1,"t",1,1,0,0]]', '[["a","t",1,1,0]]', 'x']) {
      const rows = new Map([['w!0000000000000001', value]]);
      expect(() => new SentWindow(limits).restore(rows), value).to.throw('w!0000000000000001');
    }
  });
});
