import { expect } from 'chai';
import { TLedgerError } from '../../../src/base/errors.ts';
import { groupDefaults } from '../../../src/broker/consuming/groups.ts';
import type { NodeId } from '../../../src/raft/types.ts';
import type { PoppedMessage, PopRequest } from '../../../src/replica/consuming/types.ts';
import { Group } from '../group.ts';
import { acknowledge, answered, pop, send, settle, textOf } from './consumers.ts';

const texts = (messages: readonly PoppedMessage[]): string[] => messages.map(textOf);
const attempts = (messages: readonly PoppedMessage[]): number[] => messages.map(({ attempt }) => attempt);
const change = (receipt: PoppedMessage, invisibleMs: number, mode: 'handle' | 'keep' | 'uncounted' = 'handle') => ({
  receipt,
  verdict: { kind: 'change', invisibleMs, mode } as const,
});
const bury = (receipt: PoppedMessage) => ({ receipt, verdict: { kind: 'bury' } as const });

async function codeOf(group: Group, promise: Promise<unknown>): Promise<string> {
  try {
    await answered(group, promise);
  } catch (error) {
    return error instanceof TLedgerError ? error.code : String(error);
  }
  return 'none';
}

describe('replica: consumer groups', () => {
  let group: Group;
  let leader: NodeId;
  const take = (some: Partial<PopRequest> = {}) => answered(group, pop(group, leader, some));
  const say = (...verdicts: Parameters<typeof settle>[2]) => answered(group, settle(group, leader, verdicts));

  async function start(
    queues: number,
    some: Partial<typeof groupDefaults> | { isFifo: boolean } | { attemptsMax: number } = {},
  ) {
    group = await Group.started({});
    await group.createTopic('t', queues);
    leader = await group.elect();
    const info = { name: 'g', ...groupDefaults, ...some, createdAtMs: 1 };
    await answered(group, group.replica(leader).consuming.putGroup(info, group.clock.monotonicMs() + 5_000));
  }

  async function failOver(): Promise<void> {
    group.crash(leader, 'kill');
    await group.until('another leader', () => group.leader() !== null && group.leader() !== leader);
    leader = group.leader()!;
  }

  describe('in any order', () => {
    beforeEach(() => start(2));

    it('hands each message to one consumer, beginning with the earliest', async () => {
      await send(group, leader, ['a', 'b', 'c']);
      await send(group, leader, ['d'], 1);
      const [one, other] = await Promise.all([take({ countMax: 2 }), take({ countMax: 2 })]);
      expect([...texts(one), ...texts(other)].sort()).to.deep.equal(['a', 'b', 'c', 'd']);
      expect(texts(await take())).to.deep.equal([]);
    });

    it('lets every group have all', async () => {
      await send(group, leader, ['a']);
      expect(texts(await take())).to.deep.equal(['a']);
      expect(texts(await take({ group: 'other' }))).to.deep.equal(['a']);
    });

    it('waits for a message, and not longer than asked for', async () => {
      const waiting = pop(group, leader, { waitMs: 5_000 });
      await group.run(1_000);
      await send(group, leader, ['a'], 1);
      expect(texts(await answered(group, waiting))).to.deep.equal(['a']);
      const beforeMs = group.clock.monotonicMs();
      expect(await take({ waitMs: 2_000 })).to.deep.equal([]);
      expect(group.clock.monotonicMs() - beforeMs).to.be.within(2_000, 2_050);
    });

    it('hands out again what was not acknowledged in time, as another attempt, and not what was', async () => {
      await send(group, leader, ['a', 'b']);
      const [a, b] = await take();
      await say(acknowledge(a!));
      await group.run(9_900);
      expect(await take()).to.deep.equal([]);
      const again = await take({ waitMs: 1_000 });
      expect([texts(again), attempts(again)]).to.deep.equal([['b'], [2]]);
      expect(again[0]!.handle).to.be.greaterThan(b!.handle);
    });

    it('takes a receipt of an earlier delivery for nothing, and one acknowledged before for good', async () => {
      await send(group, leader, ['a']);
      const [first] = await take({ invisibleMs: 100 });
      await group.run(200);
      expect((await say(acknowledge(first!))).map(({ isDone }) => isDone)).to.deep.equal([false]);
      const [second] = await take();
      expect((await say(acknowledge(first!), acknowledge(second!))).map(({ isDone }) => isDone)).to.deep.equal([
        false,
        true,
      ]);
      expect((await say(acknowledge(second!))).map(({ isDone }) => isDone)).to.deep.equal([true]);
      expect((await say(acknowledge(second!))).map(({ isDone }) => isDone)).to.deep.equal([true]);
      expect((await say(change(second!, 0))).map(({ isDone }) => isDone)).to.deep.equal([false]);
    });

    it('changes how long a message stays away, for a new receipt', async () => {
      await send(group, leader, ['a']);
      const [first] = await take();
      const [changed] = await say(change(first!, 0));
      const [again] = await take();
      expect([textOf(again!), again!.attempt]).to.deep.equal(['a', 2]);
      expect(again!.handle).to.be.greaterThan(changed!.handle);
      const [kept] = await say(change(again!, 20_000, 'keep'));
      expect(kept!.isDone).to.equal(true);
      await group.run(15_000);
      expect(await take()).to.deep.equal([]);
      expect((await say(change(again!, 0, 'uncounted')))[0]!.isDone).to.equal(true);
      expect(attempts(await take())).to.deep.equal([2]);
    });

    it('passes over for good what a filter leaves out', async () => {
      await send(group, leader, ['a', 'b'], 0, 'x');
      await send(group, leader, ['c'], 0, 'y');
      await send(group, leader, ['d'], 0, 'x');
      expect(texts(await take({ filter: { type: 'tag', expression: 'y' } }))).to.deep.equal(['c']);
      expect(await take({ filter: { type: 'sql', expression: "TAGS = 'x'" } })).to.deep.equal([]);
      await send(group, leader, ['e', 'f'], 0, 'z');
      expect(texts(await take({ filter: { type: 'sql', expression: "TAGS = 'z'" } }))).to.deep.equal(['e', 'f']);
      expect(await take()).to.deep.equal([]);
      expect(await codeOf(group, pop(group, leader, { filter: { type: 'sql', expression: 'a =' } }))).to.equal(
        'ILLEGAL_FILTER',
      );
    });

    it('remembers everything through a change of leader', async () => {
      await send(group, leader, ['a', 'b', 'c']);
      const [a] = await take({ countMax: 2 });
      await say(acknowledge(a!));
      await failOver();
      expect(texts(await take())).to.deep.equal(['c']);
      await group.run(11_000);
      const again = await take();
      expect([texts(again).sort(), attempts(again).sort()]).to.deep.equal([
        ['b', 'c'],
        [2, 2],
      ]);
    });

    it('refuses on other nodes, and those who wait when the leader goes', async () => {
      const follower = group.living().find((id) => id !== leader)!;
      expect(await codeOf(group, pop(group, follower))).to.equal('NOT_LEADER');
      const waiting = pop(group, leader, { waitMs: 30_000 });
      const settled = codeOf(group, waiting);
      group.isolate(leader);
      expect(await settled).to.equal('NOT_LEADER');
    });

    it('makes a group that nobody described', async () => {
      await send(group, leader, ['a']);
      await take({ group: 'new' });
      expect(group.replica(leader).broker.tables.groups.get('new')).to.include({ isFifo: false, attemptsMax: 17 });
    });

    it('gives back what reached nobody: at once, and as if it had not been handed out', async () => {
      await send(group, leader, ['a', 'b']);
      const lost = await take();
      group.replica(leader).consuming.giveBack({ group: 'g', topic: 't' }, lost);
      const again = await take({ waitMs: 1_000 });
      expect(texts(again)).to.deep.equal(['a', 'b']);
      expect(attempts(again)).to.deep.equal([1, 1]);
    });

    it('takes a call back that waits', async () => {
      const { consuming } = group.replica(leader);
      let isAnswered = false;
      const request = {
        group: 'g',
        topic: 't',
        filter: { type: 'tag', expression: '*' },
        countMax: 1,
        bytesMax: 1,
        invisibleMs: 60_000,
        attemptId: '',
        waitMs: 60_000,
      } as const;
      const cancel = consuming.pop(request, group.clock.monotonicMs() + 70_000, () => {
        isAnswered = true;
      });
      await group.run(100);
      cancel();
      await send(group, leader, ['a']);
      expect(texts(await take())).to.deep.equal(['a']);
      expect(isAnswered).to.equal(false);
    });
  });

  describe('as dead letters', () => {
    beforeEach(() => start(1, { attemptsMax: 2 }));

    it('puts a message away that was delivered as often as the group allows', async () => {
      await send(group, leader, ['a']);
      for (const attempt of [1, 2]) {
        expect(attempts(await take({ invisibleMs: 100 }))).to.deep.equal([attempt]);
        await group.run(200);
      }
      expect(await take({ waitMs: 500 })).to.deep.equal([]);
      expect(group.bodies(leader, '%DLQ%g')).to.deep.equal(['a']);
      expect(group.replica(leader).broker.tables.progress.get('g', 't')!.queues.get(0)!.inFlight.size).to.equal(0);
      const [dead] = await take({ topic: '%DLQ%g' });
      expect(textOf(dead!)).to.equal('a');
    });

    it('puts a message away when told to, once, however often and with whatever receipt', async () => {
      await send(group, leader, ['a', 'b']);
      const [a] = await take({ invisibleMs: 100 });
      await group.run(200);
      for (const _ of [1, 2, 3]) expect((await say(bury(a!)))[0]!.isDone).to.equal(true);
      expect(group.bodies(leader, '%DLQ%g')).to.deep.equal(['a']);
      expect(texts(await take())).to.deep.equal(['b']);
    });
  });

  describe('in order', () => {
    beforeEach(() => start(2, { isFifo: true }));

    it('hands out one batch of a queue at a time', async () => {
      await send(group, leader, ['a', 'b', 'c']);
      await send(group, leader, ['x'], 1);
      const first = await take({ countMax: 2 });
      const second = await take({ countMax: 2 });
      expect([texts(first), texts(second)].sort()).to.deep.equal([['a', 'b'], ['x']]);
      expect(await take()).to.deep.equal([]);
      const ab = texts(first)[0] === 'a' ? first : second;
      const waiting = pop(group, leader, { waitMs: 5_000 });
      await say(acknowledge(ab[1]!));
      await group.run(500);
      const beforeMs = group.clock.monotonicMs();
      await say(acknowledge(ab[0]!));
      expect(texts(await answered(group, waiting))).to.deep.equal(['c']);
      expect(group.clock.monotonicMs() - beforeMs).to.be.lessThan(100);
    });

    it('begins again with the first one that was not acknowledged', async () => {
      await send(group, leader, ['a', 'b', 'c', 'd']);
      const [, b] = await take({ countMax: 3, invisibleMs: 1_000 });
      await say(acknowledge(b!));
      await group.run(1_100);
      const again = await take();
      expect([texts(again), attempts(again)]).to.deep.equal([
        ['a', 'c'],
        [2, 2],
      ]);
      await say(...again.map(acknowledge));
      expect(texts(await take())).to.deep.equal(['d']);
    });

    it('gives the same call the same batch again, not as another attempt', async () => {
      await send(group, leader, ['a', 'b']);
      await take({ attemptId: 'one', countMax: 1 });
      expect(await take({ attemptId: 'other' })).to.deep.equal([]);
      const again = await take({ attemptId: 'one', countMax: 1 });
      expect([texts(again), attempts(again)]).to.deep.equal([['a'], [1]]);
      await failOver();
      expect(texts(await take({ attemptId: 'one' }))).to.deep.equal(['a']);
    });

    it('waits with the whole queue for a message that is to come back later', async () => {
      await send(group, leader, ['a', 'b']);
      const [a] = await take({ countMax: 2, invisibleMs: 1_000 });
      await say(change(a!, 5_000));
      await group.run(3_000);
      expect(await take()).to.deep.equal([]);
      expect(texts(await take({ waitMs: 3_000 }))).to.deep.equal(['a', 'b']);
    });
  });

  describe('a call whose answer was lost', () => {
    beforeEach(async () => {
      await start(1);
      await send(group, leader, ['a', 'b', 'c', 'd']);
    });

    it('gets the same deliveries again, in any order, uncounted, and nobody else does', async () => {
      const lost = await take({ attemptId: 'one', countMax: 2 });
      expect(texts(await take({ attemptId: 'other', countMax: 1 }))).to.deep.equal(['c']);
      await failOver();
      const again = await take({ attemptId: 'one' });
      expect([texts(again), attempts(again)]).to.deep.equal([
        ['a', 'b', 'd'],
        [1, 1, 1],
      ]);
      const settled = await say(acknowledge(lost[0]!));
      expect(settled.map(({ isDone }) => isDone)).to.deep.equal([false]);
    });

    it('gets nothing again that its consumer has spoken of, or that was given back', async () => {
      const [a, b, c] = await take({ attemptId: 'one', countMax: 3 });
      await say(acknowledge(a!), change(b!, 5_000), change(c!, 5_000, 'keep'));
      expect(texts(await take({ attemptId: 'one' }))).to.deep.equal(['c', 'd']);
    });

    it('counts as another attempt when the invisible time is over', async () => {
      await take({ attemptId: 'one', countMax: 1, invisibleMs: 1_000 });
      await group.run(1_100);
      const again = await take({ attemptId: 'one', countMax: 1 });
      expect([texts(again), attempts(again)]).to.deep.equal([['a'], [2]]);
    });

    it('is told apart from another one with the same filter that finds nothing', async () => {
      await take({ attemptId: 'one', countMax: 1 });
      await take({ attemptId: 'rest' });
      const waiting = take({ attemptId: 'other', waitMs: 2_000 });
      expect(texts(await take({ attemptId: 'one', waitMs: 1_000 }))).to.deep.equal(['a']);
      expect(await waiting).to.deep.equal([]);
    });
  });

  it('has a group go on where it is told to', async () => {
    await start(1);
    await send(group, leader, ['a', 'b', 'c']);
    const [a] = await take();
    const request = { group: 'g', topic: 't', positions: [{ queueId: 0, offset: 1 }] };
    await answered(
      group,
      new Promise((resolve, reject) => {
        group.replica(leader).consuming.move(request, group.clock.monotonicMs() + 5_000, (error, index) => {
          if (index === null) reject(error);
          else resolve(index);
        });
      }),
    );
    expect(texts(await take())).to.deep.equal(['b', 'c']);
    expect((await say(acknowledge(a!)))[0]!.isDone).to.equal(true);
  });
});
