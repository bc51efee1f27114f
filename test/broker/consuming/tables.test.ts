import { expect } from 'chai';
import { decodeCommand, encodeCommand } from '../../../src/broker/commands.ts';
import type { Consume } from '../../../src/broker/consuming/consume_command.ts';
import { checkGroup, checkGroupName, groupDefaults, groupLimits } from '../../../src/broker/consuming/groups.ts';
import { effectText, readEffect } from '../../../src/broker/effects.ts';
import { Tables } from '../../../src/broker/tables.ts';
import { physicalOffset } from '../../../src/format/record.ts';
import { logIndex } from '../../../src/raft/types.ts';

const consume = (some: Partial<Consume> = {}): Consume => ({
  type: 'consume',
  group: 'g',
  topic: 't',
  popped: [],
  again: [],
  settled: [],
  changed: [],
  moved: [],
  ...some,
});
const group = { name: 'g', ...groupDefaults, createdAtMs: 5 };
const popped = { queueId: 0, from: 0, to: 5, offsets: [1, 3], untilMs: 100, attemptId: 'a' };

function rowsOf(tables: Tables): Map<string, string> {
  const changes = new Map<string, string | null>();
  tables.takeChanges(changes);
  return new Map([...changes].filter((row): row is [string, string] => row[1] !== null));
}

function busy(): Tables {
  const tables = new Tables();
  tables.apply({ type: 'put-group', group }, logIndex(1));
  tables.apply(consume({ popped: [popped] }), logIndex(2));
  const parked = { sizeBytes: 9, checks: 0, topic: 't', position: physicalOffset(7) };
  tables.parked.add({ ...parked, index: logIndex(3), kind: 'half', dueMs: 50, id: 'x' });
  tables.parked.add({ ...parked, index: logIndex(4), kind: 'delayed', dueMs: 60, id: '' });
  tables.sent.add({ id: 'x', topic: 't', atMs: 1, index: logIndex(3), queueId: 0, offset: 0 });
  return tables;
}

describe('broker: tables of consumer groups', () => {
  for (const command of [
    { type: 'put-group', group },
    { type: 'put-group', group: { ...group, lite: { topic: 'P', isExclusive: false } } },
    { type: 'bind-lite', name: 'g', topic: 'P', createdAtMs: 5 },
    { type: 'claim-lite', name: 'g', client: 'h@1@2#3', node: 'n1', claimed: ['a'], released: ['b', 'c'] },
    { type: 'delete-group', name: 'g' },
    { type: 'drop-parked', index: logIndex(3) },
    { type: 'check-half', index: logIndex(3), nextMs: 99 },
    consume({
      popped: [popped],
      again: [{ queueId: 1, offset: 2, untilMs: 7, isAttempt: false, attemptId: '' }],
      settled: [{ queueId: 0, offset: 1 }],
      changed: [{ queueId: 0, offset: 3, untilMs: 9, mode: 'uncounted' }],
      moved: [{ queueId: 2, offset: 8 }],
    }),
  ] as const) {
    it(`carries ${command.type} there and back`, () => {
      expect(decodeCommand(encodeCommand(command))).to.deep.equal(command);
    });
  }

  it('are the same when made anew from their rows', () => {
    const rows = rowsOf(busy());
    expect([...rows.keys()].map((key) => key.slice(0, 2)).sort()).to.deep.equal(['c/', 'g/', 'p!', 'p!', 'w!']);
    const again = new Tables();
    again.restore(rows);
    expect(rowsOf(again)).to.deep.equal(new Map());
    for (const index of [5, 6]) {
      const next = consume({ popped: [{ ...popped, from: index, to: index + 1, offsets: [] }] });
      if (index === 5) again.apply(next, logIndex(index));
    }
    const queue = again.progress.get('g', 't')!.queues.get(0)!;
    expect(queue).to.include({ next: 6, committed: 1 });
    const decided = queue.decidedFor('a', 0);
    expect(decided.map(([offset]) => offset))
      .to.deep.equal([...queue.inFlight.keys()])
      .and.not.deep.equal([]);
    expect(queue.decidedFor('b', 0)).to.deep.equal([]);
    expect(again.parked.half('t', 'x')?.index).to.equal(3);
    expect(again.parked.firstIndex).to.equal(3);
  });

  it('bind a group to one parent of lite topics, until it is deleted or somebody names another', () => {
    const tables = new Tables();
    const bind = (topic: string): string | undefined => {
      tables.apply({ type: 'bind-lite', name: 'g', topic, createdAtMs: 5 }, logIndex(1));
      return tables.groups.get('g')?.lite?.topic;
    };
    expect([bind('P'), bind('Q')]).to.deep.equal(['P', 'P']);
    tables.apply({ type: 'put-group', group: { ...group, attemptsMax: 3 } }, logIndex(2));
    expect(tables.groups.get('g')).to.deep.equal({
      ...group,
      attemptsMax: 3,
      lite: { topic: 'P', isExclusive: false },
    });
    const again = new Tables();
    again.restore(rowsOf(tables));
    expect(again.groups.get('g')).to.deep.equal(tables.groups.get('g'));
    tables.apply({ type: 'put-group', group: { ...group, lite: { topic: 'R', isExclusive: true } } }, logIndex(3));
    expect(bind('Q')).to.equal('R');
    tables.apply({ type: 'delete-group', name: 'g' }, logIndex(4));
    expect(bind('Q')).to.equal('Q');
  });

  it('know who owns a lite topic of an exclusive group, until it gives it up by way of the same node', () => {
    const tables = new Tables();
    const told: string[] = [];
    tables.owners.onChange((...names) => told.push(names.join('/')));
    const claim = (client: string, node: string, claimed: string[], released: string[] = []) =>
      tables.apply({ type: 'claim-lite', name: 'g', client, node, claimed, released }, logIndex(2));
    tables.apply({ type: 'bind-lite', name: 'g', topic: 'P', createdAtMs: 5 }, logIndex(1));
    claim('c1', 'n1', ['a']);
    expect(tables.owners.count('g'), 'it is shared').to.equal(0);
    tables.apply({ type: 'put-group', group: { ...group, lite: { topic: 'P', isExclusive: true } } }, logIndex(1));
    claim('c1', 'n1', ['a', 'b']);
    claim('c2', 'n2', ['a']);
    claim('c1', 'n1', [], ['a']);
    claim('c2', 'n1', [], ['a']);
    const again = new Tables();
    again.restore(rowsOf(tables));
    for (const some of [tables, again]) {
      expect(some.owners.ownerOf('g', 'a')).to.deep.equal({ client: 'c2', node: 'n2' });
      expect(some.owners.ownerOf('g', 'b')).to.deep.equal({ client: 'c1', node: 'n1' });
    }
    claim('c2', 'n2', ['c'], ['a']);
    expect(['a', 'b', 'c'].map((name) => tables.owners.ownerOf('g', name)?.client)).to.deep.equal([
      undefined,
      'c1',
      'c2',
    ]);
    expect(told).to.deep.equal(['g/a', 'g/b', 'g/a', 'g/a', 'g/c']);
    tables.apply({ type: 'delete-group', name: 'g' }, logIndex(3));
    expect(tables.owners.count('g')).to.equal(0);
    const changes = new Map<string, string | null>();
    tables.takeChanges(changes);
    again.restore(new Map([...changes].filter((row): row is [string, string] => row[1] !== null)));
    expect(again.owners.count('g')).to.equal(0);
  });

  it('take nothing at all of a command about a group as it was before it was made anew', () => {
    for (const command of [
      consume({ settled: [{ queueId: 0, offset: 1 }], popped: [{ ...popped, from: 4 }] }),
      consume({
        settled: [{ queueId: 0, offset: 1 }],
        again: [{ queueId: 0, offset: 2, untilMs: 1, isAttempt: true, attemptId: 'b' }],
      }),
      consume({ changed: [{ queueId: 1, offset: 1, untilMs: 1, mode: 'keep' }] }),
    ]) {
      const tables = busy();
      rowsOf(tables);
      tables.apply(command, logIndex(8));
      expect([...rowsOf(tables)], JSON.stringify(command)).to.deep.equal([]);
      expect(tables.progress.get('g', 't')!.lastIndex).to.equal(2);
    }
  });

  it('stop the replica when a command contradicts them', () => {
    const contradictions: readonly Parameters<Tables['apply']>[0][] = [
      consume({ popped: [{ ...popped, from: 5, to: 6, offsets: [6] }] }),
      consume({ popped: [{ ...popped, from: 5, to: 4, offsets: [] }] }),
      { type: 'drop-parked', index: logIndex(9) },
      { type: 'check-half', index: logIndex(4), nextMs: 1 },
    ];
    for (const command of contradictions) {
      expect(() => busy().apply(command, logIndex(8)), JSON.stringify(command)).to.throw();
    }
  });

  it('forget a group with its progress, and take what still comes for it for nothing', () => {
    const tables = busy();
    rowsOf(tables);
    tables.apply({ type: 'delete-group', name: 'g' }, logIndex(8));
    tables.apply(consume({ popped: [popped] }), logIndex(9));
    const changes = new Map<string, string | null>();
    tables.takeChanges(changes);
    expect([...changes]).to.deep.equal([
      ['g/g', null],
      ['c/g/t/0', null],
    ]);
  });

  it('refuse rows that make no sense', () => {
    for (const [key, value] of [
      ['g/g', '{"isFifo":1}'],
      ['c/g/t', '[0,""]'],
      ['c/g/t/0', '[1,"",[1,1,1,1]]'],
      ['c/g/t/0', '[1,2]'],
      ['p!0000000000000001', '[2,0,0,0,0,"t",""]'],
    ] as const) {
      expect(() => new Tables().restore(new Map([[key, value]])), key).to.throw(key);
    }
  });

  it('know effects by their text, and nothing else', () => {
    for (const effect of [
      { kind: 'release', index: logIndex(7) },
      { kind: 'settle', group: '%DLQ%g', topic: 't|x', queueId: 2, offset: 9 },
    ] as const) {
      expect(readEffect(effectText(effect))).to.deep.equal(effect);
    }
    for (const text of ['', 'release', 'release x', 'settle a b 1', 'drop 1'])
      expect(() => readEffect(text)).to.throw();
  });

  const { charactersMax, attemptsMax } = groupLimits;
  for (const [name, isLegal] of [
    ['g', true],
    ['%RETRY%a|b_c-9', true],
    ['a'.repeat(charactersMax), true],
    ['a'.repeat(charactersMax + 1), false],
    ['', false],
    [' ', false],
    ['a b', false],
    ['a/b', false],
    ['CID_RMQ_SYS_x', false],
  ] as const) {
    it(`${isLegal ? 'takes' : 'refuses'} the group name ${JSON.stringify(name.slice(0, 20))} of ${name.length}`, () => {
      if (isLegal) checkGroupName(name);
      else expect(() => checkGroupName(name)).to.throw();
    });
  }

  it('bound what a group may say', () => {
    checkGroup({ ...group, attemptsMax });
    for (const some of [
      { attemptsMax: attemptsMax + 1 },
      { attemptsMax: 0 },
      { retryPolicy: { kind: 'customized', stepsMs: [] } },
    ] as const) {
      expect(() => checkGroup({ ...group, ...some })).to.throw();
    }
  });
});
