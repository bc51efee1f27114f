import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { defaultBrokerLimits } from '../../src/broker/limits.ts';
import type { NodeId } from '../../src/raft/types.ts';
import { answered, pop, textOf } from './consuming/consumers.ts';
import { batchOf, Group } from './group.ts';

describe('replica: more queues for a topic', () => {
  let group: Group;
  let leader: NodeId;
  const deadline = () => group.clock.monotonicMs() + 5_000;
  const add = (queues: number, topic = 't', node = leader) =>
    answered(group, group.replica(node).queues.add({ topic, queues }, deadline()));

  async function refusal(promise: Promise<unknown>): Promise<string> {
    return promise.then(
      () => 'none',
      (error: unknown) => (error instanceof TLedgerError ? error.code : String(error)),
    );
  }

  beforeEach(async () => {
    group = await Group.started({});
    leader = await group.elect();
    await group.createTopic('t', 2);
  });

  it('adds them, once, and keeps them when another one leads', async () => {
    expect(await add(5)).to.deep.include({ changed: true });
    expect((await add(5)).changed).to.equal(false);
    group.crash(leader, 'kill');
    await group.until('another leader', () => group.leader() !== null && group.leader() !== leader);
    leader = group.leader()!;
    // It serves when its first record is applied.
    await group.createTopic('u');
    expect((await add(5)).topic).to.deep.include({ name: 't', queues: 5 });
    expect((await add(6)).topic.queues).to.equal(6);
  });

  it('makes it the most that was asked for by those who ask at once', async () => {
    const answers = await Promise.all([7, 4, 9, 3].map((queues) => add(queues)));
    expect(answers.at(-2)!.topic.queues).to.equal(9);
    expect(group.replica(leader).broker.topic('t')!.queues).to.equal(9);
    expect(group.replica(leader).broker.queueCount).to.equal(9);
  });

  it('refuses fewer, more than may be, what is not there, dead letters, lite topics, and on a follower', async () => {
    const { queuesPerTopicMax } = defaultBrokerLimits;
    await group.createTopic('%DLQ%g', 1);
    await answered(group, group.replica(leader).createTopic('lite', 1, deadline(), 'lite'));
    for (const [queues, topic, code] of [
      [1, 't', 'INVALID_ARGUMENT'],
      [0, 't', 'INVALID_ARGUMENT'],
      [-1, 't', 'INVALID_ARGUMENT'],
      [2.5, 't', 'INVALID_ARGUMENT'],
      [queuesPerTopicMax + 1, 't', 'INVALID_ARGUMENT'],
      [2, 'unknown', 'TOPIC_NOT_FOUND'],
      [2, '%DLQ%g', 'INVALID_ARGUMENT'],
      [2, 'lite', 'INVALID_ARGUMENT'],
    ] as const) {
      expect(await refusal(add(queues, topic)), `${queues} for ${topic}`).to.equal(code);
    }
    const follower = ['n0', 'n1', 'n2'].find((id) => id !== leader)!;
    expect(await refusal(add(3, 't', follower))).to.equal('NOT_LEADER');
    expect((await add(queuesPerTopicMax)).topic.queues).to.equal(queuesPerTopicMax);
  });

  it('refuses more than all topics may have together, those under way included', async () => {
    const { broker } = group.replica(leader);
    Object.assign(broker.limits, { queuesTotalMax: 8 });
    await group.createTopic('u', 2);
    const answers = await Promise.all([add(4), refusal(add(5, 'u')), add(4, 'u')]);
    expect(answers[1]).to.equal('TOO_MANY_TOPICS');
    expect(broker.queueCount).to.equal(8);
  });

  it('hands out what is sent to a new one, also to who waited before it was there', async () => {
    const waiting = pop(group, leader, { waitMs: 4_000 });
    await group.run(50);
    await add(3);
    await answered(group, group.append(leader, batchOf('t', ['new'], '', 0, 2)));
    expect((await answered(group, waiting)).map(textOf)).to.deep.equal(['new']);
  });
});
