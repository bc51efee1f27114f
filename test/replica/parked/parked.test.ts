import { expect } from 'chai';
import { TLedgerError } from '../../../src/base/errors.ts';
import { sentWindowLimits } from '../../../src/broker/sent/sent_window.ts';
import { decodeMessageRecord, encodeMessageRecord, queueOffset } from '../../../src/format/message.ts';
import { brokerProperty } from '../../../src/format/message_properties.ts';
import { recordFlag } from '../../../src/format/record_flags.ts';
import type { LogIndex, NodeId } from '../../../src/raft/types.ts';
import { parkedLimits } from '../../../src/replica/parked/parked_messages.ts';
import type { AppendResult } from '../../../src/replica/types.ts';
import { answered } from '../consuming/consumers.ts';
import { batchOf, Group } from '../group.ts';

describe('replica: messages that are held back', () => {
  let group: Group;
  let leader: NodeId;

  beforeEach(async () => {
    group = await Group.started({});
    await group.createTopic('t', 2);
    leader = await group.elect();
  });

  const nowMs = (): number => group.member(leader).clock.wallMs();
  const deadlineMs = (): number => group.clock.monotonicMs() + 5_000;
  const bodies = (id: NodeId = leader): string[] => [...group.bodies(id, 't', 0), ...group.bodies(id, 't', 1)];

  function store(
    id: string,
    properties: Readonly<Record<string, string>>,
    flags: number,
    queueId = 0,
  ): Promise<AppendResult> {
    const message = { topic: 't', queueId, body: Buffer.from(id), uniqueKey: id, properties, bornAtMs: 1 };
    const request = { topic: 't', queueId, flags, records: encodeMessageRecord(message) };
    return answered(
      group,
      new Promise((resolve, reject) => {
        group.replica(leader).store(request, deadlineMs(), (error, result) => {
          if (result === null) reject(error);
          else resolve(result);
        });
      }),
    );
  }
  const delay = (id: string, ms: number, queueId = 0) =>
    store(
      id,
      { [brokerProperty.deliverAtMs]: String(nowMs() + ms) },
      recordFlag.parked | recordFlag.remembered,
      queueId,
    );
  const half = (id: string, seconds = 6) =>
    store(
      id,
      { [brokerProperty.transaction]: 'true', [brokerProperty.recoverySeconds]: String(seconds) },
      recordFlag.parked | recordFlag.remembered,
    );
  const resolve = (id: string, how: 'commit' | 'rollback') =>
    answered(group, group.replica(leader).parked.resolve('t', id, how, deadlineMs()));
  const recall = (index: LogIndex) => answered(group, group.replica(leader).parked.recall(index, 't', deadlineMs()));

  async function codeOf(promise: Promise<unknown>): Promise<string> {
    try {
      await promise;
    } catch (error) {
      return error instanceof TLedgerError ? error.code : String(error);
    }
    return 'none';
  }

  async function failOver(): Promise<void> {
    group.crash(leader, 'kill');
    await group.until('another leader', () => group.leader() !== null && group.leader() !== leader);
    leader = group.leader()!;
  }

  describe('delayed', () => {
    it('is never stored as of a time before it was due, even if the clock is set back in that moment', async () => {
      const dueMs = nowMs() + 200;
      await delay('a', 200);
      while (nowMs() < dueMs - 1) await group.run(1);
      group.clock.advance(1);
      group.member(leader).clock.turnWallClock(-100);
      await group.until('the message', () => bodies().length > 0);
      const { records } = group
        .replica(leader)
        .broker.pull({ topic: 't', queueId: 0, offset: queueOffset(0), countMax: 1, bytesMax: 1_000 });
      expect(decodeMessageRecord(records, 0, records.length)!.storedAtMs).to.be.at.least(dueMs);
    });

    it('shows a message when it is due, and not before', async () => {
      await delay('a', 1_000);
      const dueMs = group.clock.monotonicMs() + 1_000;
      await group.until('the message', () => bodies().length > 0);
      expect(group.clock.monotonicMs()).to.be.within(dueMs - 5, dueMs + 50);
      const page = group
        .replica(leader)
        .broker.pull({ topic: 't', queueId: 0, offset: 0 as never, countMax: 1, bytesMax: 1 });
      const message = decodeMessageRecord(page.records, 0, page.records.length)!;
      expect(message.storedAtMs).to.be.at.least(Number(message.properties.get(brokerProperty.deliverAtMs)));
      expect(message.properties.get('UNIQ_KEY')).to.equal('a');
      expect(group.replica(leader).broker.tables.parked.count).to.equal(0);
    });

    it('keeps the order of due times, also when what is due first takes long to be read', async () => {
      for (const [at, id] of ['a', 'b', 'c'].entries()) await delay(id, 300 + at);
      const { broker } = group.replica(leader);
      const { clock } = group.member(leader);
      const read = broker.recordAt.bind(broker);
      let reads = 0;
      broker.recordAt = async (...place) => {
        if (reads++ === 0) await new Promise<void>((done) => clock.after(50, done));
        return read(...place);
      };
      await group.until('all', () => bodies().length === 3);
      expect(bodies()).to.deep.equal(['a', 'b', 'c']);
    });

    it('shows what is due at once, and the earlier first', async () => {
      await delay('late', 900);
      await delay('early', 300);
      await delay('past', -5_000);
      await group.until('all', () => bodies().length === 3);
      expect(bodies()).to.deep.equal(['past', 'early', 'late']);
    });

    it('forgets nothing when leaders change, and shows everything once', async () => {
      for (const [number, ms] of [4_000, 5_000, 6_000].entries()) await delay(`m${number}`, ms, number % 2);
      await failOver();
      await group.until('all', () => bodies().length === 3, 20_000);
      await group.run(3_000);
      expect(bodies().sort()).to.deep.equal(['m0', 'm1', 'm2']);
      for (const id of group.living()) expect(bodies(id).sort()).to.deep.equal(['m0', 'm1', 'm2']);
    });

    it('recalls what is not due yet, once', async () => {
      const { lastIndex } = await delay('a', 2_000);
      expect((await recall(lastIndex)).id).to.equal('a');
      expect(await codeOf(recall(lastIndex))).to.equal('ILLEGAL_DELIVERY_TIME');
      await group.run(3_000);
      expect(bodies()).to.deep.equal([]);
      const due = await delay('b', 100);
      await group.run(500);
      expect(await codeOf(recall(due.lastIndex))).to.equal('ILLEGAL_DELIVERY_TIME');
      expect(bodies()).to.deep.equal(['b']);
    });

    it('knows the same message again', async () => {
      const first = await delay('a', 500);
      const again = await delay('a', 500);
      expect([again.repeated, again.lastIndex]).to.deep.equal([true, first.lastIndex]);
      await group.run(1_000);
      expect(bodies()).to.deep.equal(['a']);
    });
  });

  describe('half of a transaction', () => {
    it('shows a message once it is committed, however often that is said', async () => {
      await half('a');
      await group.run(1_000);
      expect(bodies()).to.deep.equal([]);
      await resolve('a', 'commit');
      expect(await codeOf(resolve('a', 'rollback'))).to.equal('TRANSACTION_NOT_FOUND');
      expect(bodies()).to.deep.equal(['a']);
    });

    it('remembers how it ended long after its message id is forgotten, also after a change of leader', async () => {
      for (const [id, how] of [
        ['a', 'commit'],
        ['b', 'rollback'],
      ] as const) {
        await half(id);
        await resolve(id, how);
      }
      await group.run(sentWindowLimits.windowMs + 1_000);
      await delay('later', 1);
      expect(group.replica(leader).broker.tables.sent.find('t', 'a')).to.equal(undefined);
      await failOver();
      await group.run(1_000);
      await resolve('a', 'commit');
      await resolve('b', 'rollback');
      expect(await codeOf(resolve('b', 'commit'))).to.equal('TRANSACTION_NOT_FOUND');
    });

    it('never shows one that was rolled back', async () => {
      await half('a');
      await resolve('a', 'rollback');
      await resolve('a', 'rollback');
      expect(await codeOf(resolve('a', 'commit')), 'yes would be a lie').to.equal('TRANSACTION_NOT_FOUND');
      await group.run(1_000);
      expect(bodies()).to.deep.equal([]);
      expect(await codeOf(resolve('other', 'commit'))).to.equal('TRANSACTION_NOT_FOUND');
    });

    it('has its producer asked when it stays open, also after a change of leader', async () => {
      await half('a', 2);
      const take = (topics: readonly string[]) =>
        answered(group, group.replica(leader).parked.takeChecks(topics, 10, deadlineMs()));
      expect(await take(['t'])).to.deep.equal([]);
      await failOver();
      await group.run(2_500);
      expect(await take(['other'])).to.deep.equal([]);
      const [check] = await take(['t']);
      expect([
        check?.half.id,
        decodeMessageRecord(check!.record, 0, check!.record.length)!.body.toString(),
      ]).to.deep.equal(['a', 'a']);
      expect(await take(['t'])).to.deep.equal([]);
      await group.run(parkedLimits.checkIntervalMs + 100);
      expect((await take(['t'])).length).to.equal(1);
      await resolve('a', 'commit');
      expect(bodies()).to.deep.equal(['a']);
    });

    it('is dropped after its producer was asked 15 times in vain', async () => {
      await half('a', 1);
      const { tables } = group.replica(leader).broker;
      const perCheckMs = parkedLimits.checkIntervalMs + parkedLimits.untakenMs + 1_100;
      await group.until('the end', () => tables.parked.count === 0, (parkedLimits.checksMax + 2) * perCheckMs);
      expect(group.member(leader).warnings.join()).to.include('asked 15 times');
      expect(bodies()).to.deep.equal([]);
      expect(await codeOf(resolve('a', 'commit'))).to.equal('TRANSACTION_NOT_FOUND');
    });
  });

  it('are the same rows after a restart', async () => {
    await delay('a', 60_000);
    await half('b', 600);
    await group.run(2_000);
    for (const id of [...group.living()]) group.crash(id, 'kill');
    for (const id of group.ids) await group.start(id);
    leader = await group.elect();
    await group.run(500);
    expect(group.replica(leader).broker.tables.parked.count).to.equal(2);
    await resolve('b', 'commit');
    expect(bodies()).to.deep.equal(['b']);
    await group.until('a', () => bodies().length === 2, 70_000);
  });

  describe('while decisions meet', () => {
    it('asks nobody about a half that is resolved before its turn', async () => {
      for (const id of ['a', 'b', 'c']) await half(id, 1);
      await group.run(1_100);
      const { parked } = group.replica(leader);
      const [taken] = await answered(
        group,
        Promise.all([parked.takeChecks(['t'], 10, deadlineMs()), parked.resolve('t', 'c', 'commit', deadlineMs())]),
      );
      expect(taken.map(({ half: { id } }) => id)).to.include.members(['a', 'b']);
      await group.run(1_000);
      expect(bodies()).to.deep.equal(['c']);
      for (const id of group.ids) expect(group.member(id).failure, id).to.equal(null);
    });

    it('lets two ask for halves at once, and gives each to one of them', async () => {
      for (const id of ['a', 'b', 'c']) await half(id, 1);
      await group.run(1_100);
      const { parked } = group.replica(leader);
      const ask = () => parked.takeChecks(['t'], 10, deadlineMs());
      const taken = await answered(group, Promise.all([ask(), ask()]));
      expect(taken.flat().map(({ half: { id } }) => id)).to.deep.equal(['a', 'b', 'c']);
    });

    it('resolves a half whose check has taken too long for its caller', async () => {
      await half('a', 1);
      await group.run(1_100);
      const others = group.ids.filter((id) => id !== leader);
      for (const id of others) group.cut.add(`${id}>${leader}`);
      const { parked } = group.replica(leader);
      const late = codeOf(parked.takeChecks(['t'], 10, group.clock.monotonicMs() + 100));
      await group.run(150);
      expect(await late).to.equal('OUTCOME_UNKNOWN');
      const resolved = resolve('a', 'commit');
      for (const id of others) group.cut.delete(`${id}>${leader}`);
      await resolved;
      expect(bodies()).to.deep.equal(['a']);
    });

    it('asks for both halves of one id', async () => {
      await half('a', 1);
      await group.run(61_000);
      // The window has forgotten the id.
      await half('b', 600);
      await half('a', 1);
      await group.run(5_000);
      expect(group.replica(leader).broker.tables.parked.count).to.equal(3);
      const takes = await answered(group, group.replica(leader).parked.takeChecks(['t'], 10, deadlineMs()));
      expect(takes.map(({ half: { id } }) => id)).to.deep.equal(['a', 'a']);
    });

    it('looks at the clock again when that was set', async () => {
      await delay('a', 3_600_000);
      group.member(leader).clock.turnWallClock(3_600_000);
      await group.until('the message', () => bodies().length > 0, 2_000);
    });
  });

  describe('when the log is cut', () => {
    it('are there for whoever leads, also for one who came back behind the cut', async () => {
      group = await Group.started({ retentionBytes: 1 });
      await group.createTopic('t', 2);
      leader = await group.elect();
      const away = group.living().find((id) => id !== leader)!;
      const fill = async (count: number): Promise<void> => {
        for (let at = 0; at < count; at++)
          await answered(group, group.append(leader, batchOf('t', ['x'.repeat(8_000)])));
      };
      await delay('first', 2_000);
      group.crash(away, 'kill');
      await fill(30);
      const { lastIndex } = await delay('second', 10_000);
      await group.until('the first', () => bodies().includes('first'), 5_000);
      await fill(30);
      await group.until('a cut', () => group.replica(leader).status().firstIndex > 12, 20_000);
      expect(group.replica(leader).status().firstIndex).to.be.at.most(lastIndex);
      await group.start(away);
      const hasAll = (): boolean =>
        group.replica(away).broker.appliedIndex === group.replica(leader).broker.appliedIndex;
      await group.until('all of it', hasAll, 20_000);
      expect(group.member(away).events.join()).to.include('took over a snapshot');
      await answered(group, group.replica(leader).transferLeadership(away, deadlineMs()));
      leader = away;
      await group.until('the second', () => bodies().includes('second'), 15_000);
    });
  });
});
