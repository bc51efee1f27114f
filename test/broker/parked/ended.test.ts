import { expect } from 'chai';
import { EndedTransactions } from '../../../src/broker/parked/ended.ts';
import { logIndex } from '../../../src/raft/types.ts';

const COUNT_MIN = 1_024;

function end(table: EndedTransactions, from: number, to: number): EndedTransactions {
  for (let number = from; number <= to; number++) {
    const resolution = number % 2 === 0 ? 'commit' : 'rollback';
    table.add({ topic: 't', id: `id${number}`, resolution }, logIndex(number));
  }
  return table;
}

/** A store: what checkpoints made of it. */
function store(rows: Map<string, string>, table: EndedTransactions): Map<string, string> {
  const changes = new Map<string, string | null>();
  table.takeChanges(changes);
  for (const [key, value] of changes) {
    if (value === null) rows.delete(key);
    else rows.set(key, value);
  }
  return new Map([...rows].sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe('broker: transactions that ended', () => {
  it('are known by topic and id, with the way in which they ended', () => {
    const table = end(new EndedTransactions(COUNT_MIN), 1, 2);
    expect([table.find('t', 'id1'), table.find('t', 'id2')]).to.deep.equal(['rollback', 'commit']);
    expect([table.find('other', 'id1'), table.find('t', 'id3')]).to.deep.equal([undefined, undefined]);
    table.add({ topic: 't', id: 'id1', resolution: 'commit' }, logIndex(3));
    expect(table.find('t', 'id1')).to.equal('commit');
  });

  it('are forgotten by the block when there are enough newer ones', () => {
    const table = end(new EndedTransactions(COUNT_MIN), 1, COUNT_MIN + 256);
    expect(table.find('t', 'id1')).to.equal('rollback');
    end(table, COUNT_MIN + 257, COUNT_MIN + 257);
    expect([table.find('t', 'id256'), table.find('t', 'id257')]).to.deep.equal([undefined, 'rollback']);
    expect(end(table, COUNT_MIN + 258, 20 * COUNT_MIN).count).to.be.within(COUNT_MIN, COUNT_MIN + 512);
  });

  it('keep what ended again when its first end is forgotten', () => {
    const table = end(new EndedTransactions(COUNT_MIN), 1, COUNT_MIN);
    table.add({ topic: 't', id: 'id1', resolution: 'commit' }, logIndex(COUNT_MIN + 1));
    end(table, COUNT_MIN + 2, COUNT_MIN + 600);
    expect([table.find('t', 'id1'), table.find('t', 'id2')]).to.deep.equal(['commit', undefined]);
  });

  it('are the same after a restart at any time: same answers, same rows from then on', () => {
    for (const restartAt of [1, 255, 256, 257, 1_279, 1_280, 1_281, 2_000]) {
      const one = end(new EndedTransactions(COUNT_MIN), 1, restartAt);
      const rows = store(new Map(), one);
      const again = new EndedTransactions(COUNT_MIN);
      again.restore(rows);
      expect(store(new Map(rows), again)).to.deep.equal(rows);
      const later = [one, again].map((table) => store(new Map(rows), end(table, restartAt + 1, restartAt + 2_000)));
      expect(later[0], `from ${restartAt}`).to.deep.equal(later[1]);
      expect(again.find('t', `id${restartAt + 1_500}`)).to.equal(one.find('t', `id${restartAt + 1_500}`));
    }
  });

  it('refuse rows that make no sense', () => {
    for (const value of ['{}', '[["id","t"]]', '[["id","t",2]]', '[[1,"t",1]]']) {
      const rows = new Map([['e!0000000000000001', value]]);
      expect(() => new EndedTransactions().restore(rows), value).to.throw('e!0000000000000001');
    }
  });
});
