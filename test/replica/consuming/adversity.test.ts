// What must not shake the decisions of a leader: slow majorities, callers who give up or speak twice, groups that go and come.
import { expect } from 'chai';
import { TLedgerError } from '../../../src/base/errors.ts';
import { groupDefaults } from '../../../src/broker/consuming/groups.ts';
import { encodeMessageRecord } from '../../../src/format/message.ts';
import { brokerProperty } from '../../../src/format/message_properties.ts';
import { recordFlag } from '../../../src/format/record_flags.ts';
import type { NodeId } from '../../../src/raft/types.ts';
import type { PoppedMessage, PopRequest, Settled } from '../../../src/replica/consuming/types.ts';
import { Group } from '../group.ts';
import { acknowledge, answered, pop, popOf, send, settle, textOf } from './consumers.ts';

const texts = (messages: readonly PoppedMessage[]): string[] => messages.map(textOf);
const change = (receipt: PoppedMessage, invisibleMs: number, mode: 'handle' | 'keep' | 'uncounted' = 'handle') => ({
  receipt,
  verdict: { kind: 'change', invisibleMs, mode } as const,
});
const bury = (receipt: PoppedMessage) => ({ receipt, verdict: { kind: 'bury' } as const });
const codeOf = (error: unknown): string => (error instanceof TLedgerError ? error.code : String(error));

describe('replica: consumer groups in adversity', () => {
  let group: Group;
  let leader: NodeId;
  const take = (some: Partial<PopRequest> = {}) => answered(group, pop(group, leader, some));
  const say = (...verdicts: Parameters<typeof settle>[2]) => answered(group, settle(group, leader, verdicts));
  const areDone = async (promise: ReturnType<typeof settle>) =>
    (await answered(group, promise)).map(({ isDone }) => isDone);
  const put = (name: string) =>
    group.replica(leader).consuming.putGroup({ name, ...groupDefaults, createdAtMs: 1 }, deadlineMs());
  const deadlineMs = (): number => group.clock.monotonicMs() + 5_000;

  beforeEach(async () => {
    group = await Group.started({});
    await group.createTopic('t', 1);
    leader = await group.elect();
    await answered(group, put('g'));
  });

  afterEach(async () => {
    await group.run(300);
    for (const id of group.ids) expect(group.member(id).failure, id).to.equal(null);
  });

  /** Followers hear the leader and are not heard. */
  function deafen(): () => void {
    const others = group.ids.filter((id) => id !== leader);
    for (const id of others) group.cut.add(`${id}>${leader}`);
    return () => {
      for (const id of others) group.cut.delete(`${id}>${leader}`);
    };
  }

  it('decides nothing anew before it knows what became of a decision whose caller has given up', async () => {
    await send(group, leader, ['a', 'b', 'c']);
    const hear = deafen();
    const { consuming } = group.replica(leader);
    const outcomes: string[] = [];
    const ask = (timeoutMs: number): void => {
      consuming.pop(popOf(), group.clock.monotonicMs() + timeoutMs, (error, messages) => {
        outcomes.push(messages === null ? codeOf(error) : texts(messages).join(''));
      });
    };
    ask(100);
    await group.run(200);
    expect(outcomes).to.deep.equal(['OUTCOME_UNKNOWN']);
    ask(100);
    await group.run(150);
    expect(outcomes, 'waits no longer than asked for').to.deep.equal(['OUTCOME_UNKNOWN', '']);
    ask(2_000);
    hear();
    await group.until('an answer', () => outcomes.length === 3);
    expect(outcomes[2]).to.equal('');
    const queue = group.replica(leader).broker.tables.progress.get('g', 't')!.queues.get(0)!;
    expect([...queue.inFlight.keys()]).to.deep.equal([0, 1, 2]);
  });

  it('tells who waits for verdicts behind such a decision that theirs had no effect', async () => {
    await send(group, leader, ['a', 'b']);
    const [a] = await take({ countMax: 1 });
    const hear = deafen();
    const codes: string[] = [];
    const { consuming } = group.replica(leader);
    consuming.pop(popOf(), group.clock.monotonicMs() + 100, (error) => codes.push(codeOf(error)));
    await group.run(5);
    const request = { group: 'g', topic: 't', verdicts: [acknowledge(a!)] };
    consuming.settle(request, group.clock.monotonicMs() + 100, (error) => codes.push(codeOf(error)));
    await group.run(200);
    expect(codes).to.deep.equal(['OUTCOME_UNKNOWN', 'NO_LEADER']);
    hear();
    await group.run(200);
    expect(group.replica(leader).broker.tables.progress.get('g', 't')!.queues.get(0)!.inFlight.size).to.equal(2);
  });

  it('takes a verdict at once that comes while it looks for messages, whenever that is', async () => {
    for (let turns = 0; turns < 12; turns++) {
      await send(group, leader, ['a']);
      const [a] = await take();
      const waiting = pop(group, leader, { waitMs: 300 });
      const verdict = new Promise<readonly Settled[]>((resolve, reject) => {
        const tell = async (): Promise<void> => {
          for (let turn = 0; turn < turns; turn++) await null;
          settle(group, leader, [acknowledge(a!)]).then(resolve, reject);
        };
        group.clock.defer(() => void tell());
      });
      const [done] = await answered(group, verdict, 100);
      expect(done!.isDone, `after ${turns} turns`).to.equal(true);
      expect(await answered(group, waiting)).to.deep.equal([]);
    }
  });

  it('carries out the first of two verdicts that come together, and refuses the other if it does not hold any more', async () => {
    await send(group, leader, ['a', 'b', 'c', 'd']);
    const [a, b, c, d] = await take();
    const one = (...verdicts: Parameters<typeof settle>[2]) => areDone(settle(group, leader, verdicts));
    expect(await Promise.all([one(change(a!, 0)), one(acknowledge(a!))])).to.deep.equal([[true], [false]]);
    expect(await Promise.all([one(acknowledge(b!)), one(acknowledge(b!))])).to.deep.equal([[true], [true]]);
    expect(await Promise.all([one(bury(c!)), one(change(c!, 1_000))])).to.deep.equal([[true], [false]]);
    expect(await Promise.all([one(change(d!, 1_000)), one(bury(d!))])).to.deep.equal([[true], [true]]);
    await group.run(1_100);
    expect(texts(await take())).to.deep.equal(['a']);
    expect(group.bodies(leader, '%DLQ%g')).to.deep.equal(['c', 'd']);
  });

  it('says no to a caller who speaks twice of one message, unless nothing changes by it', async () => {
    await send(group, leader, ['a', 'b']);
    const [a, b] = await take();
    expect(await areDone(settle(group, leader, [acknowledge(a!), acknowledge(a!), change(a!, 5)]))).to.deep.equal([
      true,
      true,
      false,
    ]);
    expect(await areDone(settle(group, leader, [change(b!, 0), acknowledge(b!)]))).to.deep.equal([true, false]);
    expect(texts(await take())).to.deep.equal(['b']);
  });

  it('does not count what was given back, however often', async () => {
    await send(group, leader, ['a']);
    let [a] = await take();
    for (let times = 0; times < 3; times++) {
      const [given] = await say(change(a!, 60_000, 'uncounted'));
      a = { ...a!, handle: given!.handle };
    }
    await say(change(a!, 0, 'uncounted'));
    const [again] = await take();
    expect([textOf(again!), again!.attempt]).to.deep.equal(['a', 1]);
    await say(change(again!, 0));
    expect((await take())[0]!.attempt).to.equal(2);
  });

  it('has no effect on a group that was deleted and made anew meanwhile', async () => {
    await send(group, leader, ['a', 'b', 'c']);
    await take({ countMax: 1 });
    const replica = group.replica(leader);
    const hear = deafen();
    let code = '';
    const gone = replica.command({ type: 'delete-group', name: 'g' }, deadlineMs());
    const made = replica.command(
      { type: 'put-group', group: { name: 'g', ...groupDefaults, createdAtMs: 2 } },
      deadlineMs(),
    );
    replica.consuming.pop(popOf(), deadlineMs(), (error, messages) => {
      code = messages === null ? codeOf(error) : texts(messages).join('');
    });
    await group.run(5);
    hear();
    await answered(group, Promise.all([gone, made]));
    await group.until('an answer', () => code !== '');
    expect(code).to.equal('NOT_LEADER');
    expect(texts(await take())).to.deep.equal(['a', 'b', 'c']);
  });

  it('keeps what is said of a group that comes into use at the same time', async () => {
    await send(group, leader, ['a']);
    const info = { name: 'h', ...groupDefaults, isFifo: true, createdAtMs: 1 };
    const described = group.replica(leader).consuming.putGroup(info, deadlineMs());
    await Promise.all([answered(group, described), take({ group: 'h' })]);
    expect(group.replica(leader).broker.tables.groups.get('h')?.isFifo).to.equal(true);
  });

  it('answers verdicts also when a dead letter cannot be stored', async () => {
    await send(group, leader, ['a', 'b']);
    const [a, b] = await take();
    const outcomes = [settle(group, leader, [bury(a!)]), settle(group, leader, [acknowledge(b!)])].map((promise) =>
      promise.then(
        (done) => String(done[0]!.isDone),
        (error) => codeOf(error),
      ),
    );
    group.isolate(leader);
    const codes = await answered(group, Promise.all(outcomes));
    expect(codes).to.deep.equal(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
  });

  it('moves within what a queue can hold', async () => {
    await send(group, leader, ['a', 'b']);
    const move = (queueId: number, offset: number) =>
      answered(
        group,
        new Promise((resolve, reject) => {
          const request = { group: 'g', topic: 't', positions: [{ queueId, offset }] };
          group.replica(leader).consuming.move(request, deadlineMs(), (error, index) => {
            if (index === null) reject(error);
            else resolve(index);
          });
        }),
      );
    await move(0, 1_000);
    await send(group, leader, ['c']);
    expect(texts(await take())).to.deep.equal(['c']);
    const refused = await move(7, 0).catch((error: unknown) => codeOf(error));
    expect(refused).to.equal('QUEUE_OUT_OF_RANGE');
  });

  it('carries out a verdict that reached a leader before its term had begun, with nobody else there', async () => {
    await send(group, leader, ['a']);
    const [a] = await take();
    group.crash(leader, 'kill');
    await group.until('a leader that does not serve yet', () => {
      return group.ids.some((id) => id !== leader && group.replica(id).isLeader);
    });
    leader = group.ids.find((id) => id !== leader && group.replica(id).isLeader)!;
    const askedMs = group.clock.monotonicMs();
    expect(await areDone(settle(group, leader, [acknowledge(a!)]))).to.deep.equal([true]);
    expect(group.clock.monotonicMs() - askedMs).to.be.lessThan(1_000);
  });

  it('refuses a verdict in time when its term does not begin', async () => {
    await send(group, leader, ['a']);
    const [a] = await take();
    const others = group.ids.filter((id) => id !== leader);
    group.crash(leader, 'kill');
    await group.until('a leader that does not serve yet', () => others.some((id) => group.replica(id).isLeader));
    leader = others.find((id) => group.replica(id).isLeader)!;
    for (const id of others) if (id !== leader) group.crash(id, 'kill');
    let code = '';
    const { consuming } = group.replica(leader);
    const request = { group: 'g', topic: 't', verdicts: [acknowledge(a!)] };
    consuming.settle(request, group.clock.monotonicMs() + 50, (error) => {
      code = codeOf(error);
    });
    await group.until('a refusal', () => code !== '', 100);
    expect(code).to.equal('NO_LEADER');
  });

  it('lets nothing into the log that the replicas would stumble over', async () => {
    await send(group, leader, ['a']);
    const [a] = await take();
    const refused = (promise: Promise<unknown>) => answered(group, promise).then(() => 'none', codeOf);
    expect(await refused(settle(group, leader, [change(a!, 0.5)]))).to.equal('INVALID_ARGUMENT');
    expect(await refused(pop(group, leader, { invisibleMs: Number.NaN }))).to.equal('INVALID_ARGUMENT');
    expect(await refused(pop(group, leader, { attemptId: 'x'.repeat(300) }))).to.equal('INVALID_ARGUMENT');
    const replica = group.replica(leader);
    const command = { type: 'check-half', index: 1 as never, nextMs: 0.5 } as const;
    expect(await refused(replica.command(command, deadlineMs()))).to.equal('INVALID_ARGUMENT');
    const store = (flags: number, properties: Record<string, string>, uniqueKey?: string) => {
      const records = encodeMessageRecord({
        topic: 't',
        queueId: 0,
        body: Buffer.from('b'),
        uniqueKey,
        properties,
        bornAtMs: 1,
      });
      return refused(
        new Promise((resolve, reject) => {
          replica.store({ topic: 't', queueId: 0, flags, records }, deadlineMs(), (error, result) =>
            result === null ? reject(error) : resolve(result),
          );
        }),
      );
    };
    const { parked, effect, remembered } = recordFlag;
    expect(await store(parked, { [brokerProperty.deliverAtMs]: 'soon' })).to.equal('INVALID_ARGUMENT');
    expect(await store(parked, { [brokerProperty.recoverySeconds]: '-1' })).to.equal('INVALID_ARGUMENT');
    expect(await store(parked, { [brokerProperty.recoverySeconds]: '9'.repeat(15) })).to.equal('INVALID_ARGUMENT');
    expect(await store(effect, { [brokerProperty.effect]: 'explode' })).to.equal('INVALID_ARGUMENT');
    expect(await store(remembered, {})).to.equal('INVALID_ARGUMENT');
    expect(await store(1, {})).to.equal('INVALID_ARGUMENT');
    expect(await store(parked | remembered, { [brokerProperty.deliverAtMs]: '1' }, 'x')).to.equal('none');
  });
});
