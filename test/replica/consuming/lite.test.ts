import { expect } from 'chai';
import { TLedgerError } from '../../../src/base/errors.ts';
import type { Broker } from '../../../src/broker/broker.ts';
import { groupDefaults } from '../../../src/broker/consuming/groups.ts';
import type { TopicType } from '../../../src/broker/types.ts';
import { encodeMessageRecord } from '../../../src/format/message.ts';
import { logIndex, type NodeId } from '../../../src/raft/types.ts';
import { LiteTopics } from '../../../src/replica/consuming/lite_topics.ts';
import type { PoppedMessage, PopRequest } from '../../../src/replica/consuming/types.ts';
import { Group } from '../group.ts';
import { acknowledge, answered, pop, settle, textOf } from './consumers.ts';

function fieldOf(broker: Broker, name: string | symbol): unknown {
  const value: unknown = Reflect.get(broker, name);
  return typeof value === 'function' ? value.bind(broker) : value;
}

const texts = (messages: readonly PoppedMessage[]): string[] => messages.map(textOf);

describe('replica: topics of special types', () => {
  let group: Group;
  let leader: NodeId;
  const deadline = () => group.clock.monotonicMs() + 5_000;
  const take = (some: Partial<PopRequest> = {}) => answered(group, pop(group, leader, some));
  const addLite = (lite: string, topic = 't') =>
    answered(group, group.replica(leader).lite.add({ topic, lite }, deadline()));

  async function start(type: TopicType, queues: number): Promise<void> {
    group = await Group.started({});
    leader = await group.elect();
    await answered(group, group.replica(leader).createTopic('t', queues, deadline(), type));
  }

  async function send(queueId: number, ...bodies: string[]): Promise<void> {
    const records = Buffer.concat(
      bodies.map((text) => encodeMessageRecord({ topic: 't', queueId, body: Buffer.from(text), bornAtMs: 1 })),
    );
    await answered(group, group.append(leader, { topic: 't', queueId, producerId: '', sequence: 0, records }));
  }

  async function failOver(): Promise<void> {
    group.crash(leader, 'kill');
    await group.until('another leader', () => group.leader() !== null && group.leader() !== leader);
    leader = group.leader()!;
  }

  async function codeOf(promise: Promise<unknown>): Promise<string> {
    return promise.then(
      () => 'none',
      (error: unknown) => (error instanceof TLedgerError ? error.code : String(error)),
    );
  }

  describe('priority', () => {
    beforeEach(() => start('priority', 3));

    it('hands out the highest first, and what came back with its own priority', async () => {
      await send(0, 'low 1', 'low 2');
      await send(2, 'high 1', 'high 2');
      await send(1, 'middle');
      expect(texts(await take({ countMax: 3, invisibleMs: 1_000 }))).to.deep.equal(['high 1', 'high 2', 'middle']);
      await group.run(1_100);
      await send(2, 'high 3');
      expect(texts(await take({ countMax: 4 }))).to.deep.equal(['high 1', 'high 2', 'high 3', 'middle']);
      expect(texts(await take())).to.deep.equal(['low 1', 'low 2']);
    });

    it('hands out new messages of a priority beside those that come back again and again', async () => {
      await send(2, 'a', 'b', 'c', 'd');
      await take({ countMax: 4, invisibleMs: 100 });
      await group.run(200);
      await send(2, 'new');
      expect(texts(await take({ countMax: 4 }))).to.include('new');
    });
  });

  describe('lite', () => {
    beforeEach(() => start('lite', 2));

    it('are queues of their parent, made once each, and are there after a failover', async () => {
      expect(await Promise.all(['a', 'b', 'a', 'c'].map((name) => addLite(name)))).to.deep.equal([0, 1, 0, 2]);
      const { broker } = group.replica(leader);
      expect(broker.topic('t')?.queues).to.equal(3);
      await failOver();
      await take();
      expect(await addLite('c')).to.equal(2);
      expect(await addLite('d')).to.equal(3);
      await answered(group, group.replica(leader).createTopic('t', 2, deadline(), 'lite'));
      expect(await codeOf(addLite('not legal'))).to.equal('ILLEGAL_LITE_TOPIC');
      expect(await codeOf(addLite('a', 'unknown'))).to.equal('TOPIC_NOT_FOUND');
    });

    it('are handed out in order, each for itself, and only those asked for', async () => {
      for (const name of ['a', 'b', 'c']) await addLite(name);
      await send(0, 'a1', 'a2');
      await send(1, 'b1');
      await send(2, 'c1');
      const first = await take({ lite: ['a', 'c', 'unknown'], countMax: 1 });
      expect(texts(first)).to.deep.equal(['a1']);
      expect(texts(await take({ lite: ['a', 'c', 'unknown'] }))).to.deep.equal(['c1']);
      await answered(group, settle(group, leader, [acknowledge(first[0]!)]));
      expect(texts(await take({ lite: ['a'], invisibleMs: 500 }))).to.deep.equal(['a2']);
      await send(0, 'a3');
      expect(texts(await take({ lite: ['a'] }))).to.deep.equal([]);
      await group.run(600);
      const again = await take({ lite: ['a'] });
      expect(again.map((one) => [textOf(one), one.attempt])).to.deep.equal([['a2', 2]]);
      expect(texts(await take({ lite: ['b'] }))).to.deep.equal(['b1']);
    });

    it('that come to be later reach those who wait for them', async () => {
      const waiting = pop(group, leader, { lite: ['later'], waitMs: 5_000 });
      await group.run(100);
      await send(await addLite('other'), 'not wanted');
      await send(await addLite('later'), 'wanted');
      expect(texts(await answered(group, waiting))).to.deep.equal(['wanted']);
    });

    it('reach whoever wants them, beside others that wait for something else', async () => {
      const other = pop(group, leader, { lite: ['a'], waitMs: 60_000 });
      const waiting = pop(group, leader, { lite: ['b'], waitMs: 60_000 });
      await group.run(100);
      await send(await addLite('b'), 'b1');
      expect(texts(await answered(group, waiting))).to.deep.equal(['b1']);
      await send(await addLite('a'), 'a1');
      expect(texts(await answered(group, other))).to.deep.equal(['a1']);
    });

    it('bind a group to the first parent that it asks for, however many ask at once, also after a change of leader', async () => {
      await answered(group, group.replica(leader).createTopic('u', 1, deadline(), 'lite'));
      const bind = async (topic: string, name = 'g') =>
        (await answered(group, group.replica(leader).lite.bind({ group: name, topic }, deadline()))).topic;
      const [first, second] = await Promise.all(['t', 'u'].map((topic) => bind(topic)));
      expect(first).to.equal(second);
      await failOver();
      await group.run(1_000);
      expect(await bind(first === 't' ? 'u' : 't')).to.equal(first);
      await answered(group, group.replica(leader).consuming.deleteGroup('g', deadline()));
      expect(await bind('u')).to.equal('u');
      await answered(group, group.replica(leader).createTopic('plain', 1, deadline()));
      expect(await codeOf(bind('plain', 'h'))).to.equal('MESSAGE_TYPE_MISMATCH');
      expect(await codeOf(bind('nowhere', 'h'))).to.equal('TOPIC_NOT_FOUND');
      expect(await codeOf(bind('u', 'CID_RMQ_SYS_h'))).to.equal('ILLEGAL_GROUP');
      expect(group.replica(leader).broker.tables.groups.get('h')).to.equal(undefined);
    });

    it('have one owner in an exclusive group, the same after a change of leader, and not too many', async () => {
      const { attemptsMax, isFifo, retryPolicy } = groupDefaults;
      const wish = { name: 'g', attemptsMax, isFifo, retryPolicy, createdAtMs: 1 };
      const put = (topic: string) =>
        answered(
          group,
          group.replica(leader).consuming.putGroup({ ...wish, lite: { topic, isExclusive: true } }, deadline()),
        );
      expect(await codeOf(put('nowhere'))).to.equal('TOPIC_NOT_FOUND');
      await put('t');
      const claim = (client: string, claimed: readonly string[]) =>
        codeOf(
          answered(
            group,
            group.replica(leader).lite.claim({ group: 'g', client, node: 'n', claimed, released: [] }, deadline()),
          ),
        );
      expect(await Promise.all([claim('c1', ['a', 'b']), claim('c2', ['b', 'c'])])).to.deep.equal(['none', 'none']);
      expect(await claim('c1', ['not legal'])).to.equal('ILLEGAL_LITE_TOPIC');
      const { liteTopicsMax } = group.replica(leader).broker.limits;
      const many = Array.from({ length: liteTopicsMax - 2 }, (_, at) => `n${at}`);
      expect(await claim('c3', many)).to.equal('LITE_SUBSCRIPTION_QUOTA_EXCEEDED');
      await failOver();
      await group.run(1_000);
      const { owners } = group.replica(leader).broker.tables;
      expect(['a', 'b', 'c'].map((name) => owners.ownerOf('g', name)?.client)).to.deep.equal(['c1', 'c2', 'c2']);
    });

    it('have a limit, which those that are there already do not meet', async () => {
      const { lite, broker } = group.replica(leader);
      const few = new LiteTopics({
        broker: new Proxy(broker, {
          get: (_, name) => (name === 'limits' ? { ...broker.limits, liteTopicsMax: 2 } : fieldOf(broker, name)),
        }),
        clock: group.clock,
        isServing: true,
        command: async ({ type, ...command }) => {
          expect(type).to.equal('add-lite');
          const { name, lite: added } = command as { name: string; lite: string };
          await lite.add({ topic: name, lite: added }, deadline());
          return logIndex(1);
        },
      });
      const add = (name: string) => codeOf(answered(group, few.add({ topic: 't', lite: name }, deadline())));
      // Three at once: those under way count.
      expect(await Promise.all(['a', 'b', 'c'].map(add))).to.deep.equal(['none', 'none', 'LITE_TOPIC_QUOTA_EXCEEDED']);
      expect(await add('b')).to.equal('none');
    });
  });

  it('a group that nobody made is there once it was moved', async () => {
    await start('normal', 1);
    await send(0, 'a', 'b', 'c');
    const move = (offset: number): Promise<unknown> => {
      const request = { group: 'g', topic: 't', positions: [{ queueId: 0, offset }] };
      return answered(
        group,
        new Promise((resolve, reject) => {
          group.replica(leader).consuming.move(request, deadline(), (error, index) => {
            if (error === null) resolve(index);
            else reject(error);
          });
        }),
      );
    };
    await move(2);
    expect(texts(await take())).to.deep.equal(['c']);
  });
});
