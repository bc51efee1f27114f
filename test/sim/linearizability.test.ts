import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { checkLinearizable, logModel, namesModel, type Operation, registerModel } from './linearizability.ts';
import { checkLogOrder } from './log_order.ts';

/**
 * A history as text, one operation a line: `client call..return what`, with `..` and no return for an operation that
 * was never answered. What: `append v = offset`, `write v`, `cas a b = yes|no`, `create a 2 = created|exists|conflict`,
 * `list = a=1,b=2`, `read = a,b` (log) or `read = a`.
 */
function parse(text: string, isLog: boolean): Operation[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [client, times, kind, ...rest] = line.trim().split(/\s+/);
      const [from, to] = times!.split('..');
      const head = { client: Number(client), callMs: Number(from), returnMs: to === '' ? Infinity : Number(to) };
      const at = rest.indexOf('=');
      const answer = at < 0 ? null : (rest[at + 1] ?? '');
      const given = at < 0 ? rest : rest.slice(0, at);
      switch (kind) {
        case 'append':
          return { ...head, input: { kind, value: given[0]! }, output: answer === null ? null : Number(answer) };
        case 'write':
          return { ...head, input: { kind, value: given[0]! }, output: null };
        case 'cas': {
          const input = { kind: 'compare-and-set', expected: given[0]!, value: given[1]! } as const;
          return { ...head, input, output: answer === null ? null : answer === 'yes' };
        }
        case 'create':
          return { ...head, input: { kind, name: given[0]!, value: given[1]! }, output: answer };
        case 'list':
          return { ...head, input: { kind }, output: answer === null || answer === '' ? [] : answer.split(',') };
        default: {
          const list = answer === '' || answer === null ? [] : answer.split(',');
          const output = answer === null ? null : isLog ? list : answer;
          return { ...head, input: { kind: 'read' }, output };
        }
      }
    });
}

const goodLogs: Readonly<Record<string, string>> = {
  'one after the other': '1 0..1 append a = 0\n1 2..3 append b = 1\n1 4..5 read = a,b',
  'an empty log': '1 0..1 read =',
  'two at once, in the order of their offsets': '1 0..9 append a = 1\n2 1..8 append b = 0\n1 10..11 read = b,a',
  'a read beside an append sees it': '1 0..9 append a = 0\n2 1..2 read = a',
  'a read beside an append does not see it yet': '1 0..9 append a = 0\n2 1..2 read =',
  'an unanswered append that took effect': '1 0.. append a\n2 5..6 read = a',
  'an unanswered append that did not': '1 0.. append a\n2 5..6 read =\n2 7..8 append b = 0',
  'an unanswered append that took effect late': '1 0.. append a\n2 5..6 append b = 0\n2 7..8 read = b,a',
  'two unanswered appends, one of which took effect':
    '1 0.. append a\n3 1.. append c\n2 5..6 append b = 1\n2 7..8 read = c,b',
  'an answer without an offset': '1 0..1 append a\n2 2..3 append b = 1\n1 4..5 read = a,b',
  'returns and calls at the same moment': '1 0..5 append a = 0\n2 5..6 read =',
  'reads that overlap see growing logs in either order': '1 0..9 append a = 0\n2 1..8 read = a\n3 2..7 read =',
};

const badLogs: Readonly<Record<string, string>> = {
  'a lost append': '1 0..1 append a = 0\n1 2..3 read =',
  'a lost append, found out by an offset': '1 0..1 append a = 0\n2 2..3 append b = 0',
  'a stale read': '1 0..1 append a = 0\n1 2..3 append b = 1\n2 4..5 read = a',
  'a read of what nobody wrote': '1 0..1 append a = 0\n2 2..3 read = a,x',
  'a doubled append': '1 0..1 append a = 0\n2 2..3 read = a,a',
  'a doubled unanswered append': '1 0.. append a\n2 5..6 read = a,a',
  'reordered appends': '1 0..1 append a = 0\n1 2..3 append b = 1\n2 4..5 read = b,a',
  'offsets against the order of time': '1 0..1 append a = 1\n1 2..3 append b = 0',
  'two messages at one offset': '1 0..9 append a = 0\n2 1..8 append b = 0',
  'a gap in the offsets': '1 0..1 append a = 0\n1 2..3 append b = 2',
  'a read that goes back': '1 0..9 append a = 0\n2 1..2 read = a\n2 3..4 read =',
  'two readers who disagree': '1 0..9 append a = 0\n2 1..2 read = a\n3 3..4 read =',
  'a read from the future': '1 0..1 read = a\n2 2..3 append a = 0',
  'an append from the future': '1 0..1 append b = 1\n2 2..3 append a = 0',
  'readers who see different orders': '1 0..9 append a\n2 0..9 append b\n3 1..5 read = a,b\n4 1..5 read = b,a',
  'an offset that a read contradicts': '1 0..9 append a = 0\n2 0..9 append b = 1\n3 10..11 read = b,a',
  'an unanswered append seen and gone': '1 0.. append a\n2 5..6 read = a\n2 7..8 read =',
  'an unanswered append whose place is taken': '1 0.. append a\n2 5..6 read = a\n2 7..8 append b = 0',
  'a middle that is missing': '1 0..1 append a = 0\n1 2..3 append b = 1\n1 4..5 append c = 2\n2 6..7 read = a,c',
  'a start that is missing': '1 0..1 append a = 0\n1 2..3 append b = 1\n2 6..7 read = b',
  'a read of an unanswered append before its call': '2 0..1 read = a\n1 2.. append a',
  'an acknowledged append undone by a later one': '1 0..1 append a = 0\n2 2..3 append b = 0\n1 4..5 read = b',
};

const goodRegisters: Readonly<Record<string, string>> = {
  'written and read': '1 0..1 write a\n1 2..3 read = a',
  'the last of two writes': '1 0..1 write a\n1 2..3 write b\n2 4..5 read = b',
  'either of two writes at once': '1 0..9 write a\n2 0..9 write b\n3 10..11 read = a',
  'a write that is read while it goes on': '1 0..9 write a\n2 1..2 read = a\n3 3..4 read = a',
  'a swap that holds': '1 0..1 write a\n2 2..3 cas a b = yes\n1 4..5 read = b',
  'a swap that is refused': '1 0..1 write a\n2 2..3 cas x b = no\n1 4..5 read = a',
  'an unanswered swap': '1 0..1 write a\n2 2.. cas a b\n1 4..5 read = a\n1 6..7 read = b',
  'a write that took effect late': '1 0.. write a\n2 1..2 write b\n2 3..4 read = b\n2 5..6 read = a',
};

const badRegisters: Readonly<Record<string, string>> = {
  'a lost write': '1 0..1 write a\n1 2..3 read =',
  'a stale value': '1 0..1 write a\n1 2..3 write b\n2 4..5 read = a',
  'a value out of nowhere': '1 0..1 write a\n1 2..3 read = z',
  'an old value come back': '1 0..9 write a\n2 0..1 read = a\n2 2..3 read =',
  'two swaps of one value': '1 0..1 write a\n1 2..9 cas a b = yes\n2 2..9 cas a c = yes',
  'a swap that is refused without reason': '1 0..1 write a\n2 2..3 cas a b = no',
  'a swap that holds without reason': '1 0..1 write a\n2 2..3 cas x b = yes',
  'a refused swap that is seen': '1 0..1 write a\n2 2..3 cas x b = no\n1 4..5 read = b',
  'readers of writes at once who disagree': '1 0..9 write a\n2 0..9 write b\n3 10..11 read = a\n3 12..13 read = b',
  'a late write, twice': '1 0.. write a\n2 1..2 read = a\n2 3..4 write b\n2 5..6 read = a',
};

const goodNames: Readonly<Record<string, string>> = {
  'created and listed': '1 0..1 create a 1 = created\n1 2..3 list = a=1',
  'two at once, one of which creates': '1 0..9 create a 1 = exists\n2 1..8 create a 1 = created\n1 10..11 list = a=1',
  'two at once with different values': '1 0..9 create a 1 = conflict\n2 1..8 create a 2 = created\n1 10..11 list = a=2',
  'an unanswered creation that took effect': '1 0.. create a 1\n2 5..6 create a 2 = conflict\n2 7..8 list = a=1',
  'an unanswered creation that did not': '1 0.. create a 1\n2 5..6 create a 2 = created\n2 7..8 list = a=2',
  'lists are sorted': '1 0..1 create b 1 = created\n1 2..3 create a 2 = created\n1 4..5 list = a=2,b=1',
};

const badNames: Readonly<Record<string, string>> = {
  'created twice': '1 0..1 create a 1 = created\n2 2..3 create a 1 = created',
  'a creation that is not listed': '1 0..1 create a 1 = created\n2 2..3 list =',
  'a list of what nobody created': '1 0..1 list = a=1',
  'refused because of nothing': '1 0..1 create a 1 = conflict',
  'refused because of what is gone': '1 0.. create a 1\n2 1..2 create a 2 = conflict\n2 3..4 list =',
  'exists, and is not there': '1 0.. create a 1\n2 1..2 create a 1 = exists\n2 3..4 list =',
  'another value than was created': '1 0..1 create a 1 = created\n1 2..3 list = a=2',
  'accepted with another value': '1 0..1 create a 1 = created\n1 2..3 create a 2 = exists',
  'a list that goes back': '1 0.. create a 1\n2 1..2 list = a=1\n3 3..4 list =',
  'readers who see different orders': '1 0..9 create a 1\n2 0..9 create b 1\n3 1..5 list = a=1\n4 1..5 list = b=1',
};

describe('linearizability', () => {
  it('is judged on 40 bad histories and more', () => {
    const bad = [badLogs, badRegisters, badNames].flatMap((histories) => Object.keys(histories));
    expect(bad.length).to.be.at.least(40);
  });

  for (const [name, text] of Object.entries(goodNames)) {
    it(`of names: ${name}`, () => {
      expect(checkLinearizable(namesModel, parse(text, false))).to.equal('linearizable');
    });
  }
  for (const [name, text] of Object.entries(badNames)) {
    it(`not of names: ${name}`, () => {
      expect(checkLinearizable(namesModel, parse(text, false))).to.equal('not linearizable');
    });
  }
  for (const [name, text] of Object.entries(goodLogs)) {
    it(`of a log: ${name}`, () => {
      expect(checkLinearizable(logModel, parse(text, true))).to.equal('linearizable');
    });
  }
  for (const [name, text] of Object.entries(badLogs)) {
    it(`not of a log: ${name}`, () => {
      expect(checkLinearizable(logModel, parse(text, true))).to.equal('not linearizable');
    });
  }
  for (const [name, text] of Object.entries(goodRegisters)) {
    it(`of a register: ${name}`, () => {
      expect(checkLinearizable(registerModel, parse(text, false))).to.equal('linearizable');
    });
  }
  for (const [name, text] of Object.entries(badRegisters)) {
    it(`not of a register: ${name}`, () => {
      expect(checkLinearizable(registerModel, parse(text, false))).to.equal('not linearizable');
    });
  }

  for (const [name, text] of Object.entries(goodLogs)) {
    it(`of a log whose end is known: ${name}`, () => {
      const history = parse(text, true);
      const excused = contentsOf(history).filter((final) => checkLogOrder(history, final).length === 0);
      expect(excused).not.to.deep.equal([]);
    });
  }
  for (const [name, text] of Object.entries(badLogs)) {
    it(`not of a log, whatever its end: ${name}`, () => {
      const history = parse(text, true);
      for (const final of contentsOf(history))
        expect(checkLogOrder(history, final), final.join()).not.to.deep.equal([]);
    });
  }

  it('of a log is the same with a known end as by search, on random histories', () => {
    const random = new SeededRandom(11);
    const verdicts = { good: 0, bad: 0 };
    for (let round = 0; round < 3_000; round++) {
      const { history, final } = randomLogHistory(random);
      const read = { client: 99, callMs: 1_000, returnMs: 1_001, input: { kind: 'read' }, output: final } as const;
      const isGood = checkLogOrder(history, final).length === 0;
      expect(checkLinearizable(logModel, [...history, read]), JSON.stringify({ history, final })).to.equal(
        isGood ? 'linearizable' : 'not linearizable',
      );
      verdicts[isGood ? 'good' : 'bad']++;
    }
    expect(verdicts.good).to.be.greaterThan(300);
    expect(verdicts.bad).to.be.greaterThan(300);
  });

  it('of a long log is judged in no time', () => {
    const count = 50_000;
    const final = Array.from({ length: count }, (_, at) => `v${at}`);
    const history = final.map((value, at): Operation => {
      return { client: at % 50, callMs: at, returnMs: at + 40, input: { kind: 'append', value }, output: at };
    });
    expect(checkLogOrder(history, final)).to.deep.equal([]);
    [final[100], final[200]] = [final[200]!, final[100]!];
    expect(checkLogOrder(history, final)).not.to.deep.equal([]);
  });

  it('agrees with trying every order, on random small histories', () => {
    const random = new SeededRandom(7);
    const verdicts = { good: 0, bad: 0 };
    for (let round = 0; round < 2_000; round++) {
      const history = randomHistory(random);
      const expected = someOrderFits(history);
      expect(checkLinearizable(registerModel, history), JSON.stringify(history)).to.equal(
        expected ? 'linearizable' : 'not linearizable',
      );
      verdicts[expected ? 'good' : 'bad']++;
    }
    expect(verdicts.good).to.be.greaterThan(200);
    expect(verdicts.bad).to.be.greaterThan(200);
  });

  it('says so when it gives up', () => {
    const history = Array.from({ length: 14 }, (_, at) => parse(`${at} 0..9 write v${at}`, false)[0]!);
    const last = parse('99 10..11 read = nothing', false);
    expect(checkLinearizable(registerModel, [...history, ...last], 1_000)).to.equal('unknown');
  });
});

/** Everything that could be the contents of the log in the end: its values in any order, with any of them left out. */
function contentsOf(history: readonly Operation[]): string[][] {
  const values = history.flatMap(({ input }) => (input.kind === 'append' ? [input.value] : []));
  const grow = (begun: string[]): string[][] => [
    begun,
    ...values.filter((value) => !begun.includes(value)).flatMap((value) => grow([...begun, value])),
  ];
  return grow([]);
}

/** A history that happened, with answers now and then bent or withheld. */
function randomLogHistory(random: SeededRandom): { history: Operation[]; final: string[] } {
  const final: string[] = [];
  const history = Array.from({ length: random.between(2, 7) }, (_, client): Operation => {
    const atMs = 10 * client + random.between(0, 9);
    const callMs = atMs - random.between(0, 25);
    const returnMs = random.next() < 0.2 ? Infinity : atMs + random.between(0, 25);
    const isBent = random.next() < 0.15;
    if (random.next() < 0.5) {
      const value = `v${client}`;
      const isLost = returnMs === Infinity && random.next() < 0.5;
      const output = returnMs === Infinity ? null : final.length + (isBent ? 1 : 0);
      if (!isLost) final.push(value);
      return { client, callMs, returnMs, input: { kind: 'append', value }, output };
    }
    const shown = isBent ? final.slice(0, -1) : [...final];
    const output = returnMs === Infinity ? null : random.next() < 0.5 ? shown : shown.length;
    return { client, callMs, returnMs, input: { kind: 'read' }, output };
  });
  if (final.length > 1 && random.next() < 0.2) final.push(final.shift()!);
  return { history, final };
}

function randomHistory(random: SeededRandom): Operation[] {
  return Array.from({ length: random.between(2, 6) }, (_, client) => {
    const callMs = random.between(0, 12);
    const returnMs = random.next() < 0.2 ? Infinity : callMs + random.between(1, 6);
    const value = ['', 'a', 'b'][random.between(0, 2)]!;
    switch (random.between(0, 2)) {
      case 0:
        return { client, callMs, returnMs, input: { kind: 'write', value }, output: null };
      case 1:
        return { client, callMs, returnMs, input: { kind: 'read' }, output: returnMs === Infinity ? null : value };
      default: {
        const input = { kind: 'compare-and-set', expected: value, value: 'c' } as const;
        return { client, callMs, returnMs, input, output: returnMs === Infinity ? null : random.next() < 0.5 };
      }
    }
  });
}

/** The definition, word by word: some order of some of the unanswered and all answered operations explains all answers. */
function someOrderFits(history: readonly Operation[], state = registerModel.initial): boolean {
  if (history.every(({ returnMs }) => returnMs === Infinity)) return true;
  return history.some((operation) => {
    // It may come first if no other had returned before it was called.
    if (history.some((other) => other !== operation && other.returnMs < operation.callMs)) return false;
    const next = registerModel.step(state, operation.input, operation.output);
    return (
      next !== undefined &&
      someOrderFits(
        history.filter((other) => other !== operation),
        next,
      )
    );
  });
}
