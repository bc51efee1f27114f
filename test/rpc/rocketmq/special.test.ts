// PullMessage and its kin, and topics of type priority and lite.
import { expect } from 'chai';
import { groupDefaults } from '../../../src/broker/consuming/groups.ts';
import { encodeMessageRecord } from '../../../src/format/message.ts';
import { logIndex } from '../../../src/raft/types.ts';
import type { ClaimLiteRequest } from '../../../src/replica/consuming/lite_topics.ts';
import type { MoveRequest, PopRequest } from '../../../src/replica/consuming/types.ts';
import type { AtLeaderOptions } from '../../../src/rpc/gateway.ts';
import { LITE_SUBSCRIPTIONS_MAX } from '../../../src/rpc/rocketmq/lite_subscriptions.ts';
import type { PullMessageResponse, SyncLiteSubscriptionRequest } from '../../../src/wire/rocketmq/service_messages.ts';
import { WorkingTime } from '../../chaos/working_time.ts';
import { until } from '../harness.ts';
import { messageOf, type RawClient, type Some, type Telemetry } from './client.ts';
import { type RocketmqHarness, startRocketmq } from './harness.ts';

const queueOf = (id: number, topic = 'orders') => ({ messageQueue: { topic: { name: topic }, id } });
const named = { group: { name: 'billing' }, topic: { name: 'chat' } };

describe('special ways of consuming through RocketMQ', () => {
  let harness: RocketmqHarness;
  let client: RawClient;

  beforeEach(async () => {
    harness = await startRocketmq({ urgent: 'priority', chat: 'lite' });
    client = harness.client;
  });

  afterEach(async () => {
    expect(harness.complaints).to.deep.equal([]);
    await harness[Symbol.asyncDispose]();
  });

  function store(texts: readonly string[], { queueId = 0, topic = 'orders', tag = '' } = {}): void {
    const records = Buffer.concat(
      texts.map((text) => encodeMessageRecord({ topic, queueId, body: Buffer.from(text), tag, bornAtMs: 1 })),
    );
    harness.gateway.fake.store({ topic, queueId, producerId: '', sequence: 0, records });
  }

  describe('PullMessage', () => {
    const textsOf = (elements: readonly PullMessageResponse[]): string[] =>
      elements.flatMap(({ message }) => (message === undefined ? [] : [message.body.toString()]));

    it('answers status, messages without receipt, and where to go on', async () => {
      store(['a', 'b', 'c'], { queueId: 1 });
      const elements = await client.pull({ ...queueOf(1), offset: '1', batchSize: 1 });
      expect(elements.map((one) => Object.keys(one)[0])).to.deep.equal(['status', 'message', 'nextOffset']);
      expect(elements[0]?.status?.code).to.equal('OK');
      expect(elements[1]?.message?.systemProperties).to.include({ queueId: 1, queueOffset: '1' });
      expect(elements[1]?.message?.systemProperties?.receiptHandle).to.equal(undefined);
      expect(elements[2]?.nextOffset).to.equal('2');
      expect(textsOf(await client.pull({ ...queueOf(1), offset: '0' }))).to.deep.equal(['a', 'b', 'c']);
    });

    it('passes over what the filter leaves out', async () => {
      store(['a'], { tag: 'x' });
      store(['b', 'c'], { tag: 'y' });
      const filterExpression = { type: 'TAG', expression: 'y' } as const;
      const some = await client.pull({ ...queueOf(0), offset: '0', batchSize: 1, filterExpression });
      expect(textsOf(some)).to.deep.equal(['b']);
      expect(some.at(-1)?.nextOffset).to.equal('2');
      const none = await client.pull({
        ...queueOf(0),
        offset: '0',
        filterExpression: { type: 'TAG', expression: 'z' },
      });
      expect(none[0]?.status?.code).to.equal('MESSAGE_NOT_FOUND');
      expect(none.at(-1)?.nextOffset).to.equal('3');
    });

    it('waits for the first message, and no longer than asked for', async () => {
      const waiting = client.pull({ ...queueOf(2), offset: '0', longPollingTimeout: { seconds: '20' } });
      await until(() => harness.gateway.fake.listenerCount === 1, 'the pull waits');
      store(['a'], { queueId: 2 });
      expect(textsOf(await waiting)).to.deep.equal(['a']);
      const time = new WorkingTime();
      const none = await client.pull({ ...queueOf(2), offset: '1', longPollingTimeout: { nanos: 200_000_000 } });
      expect(time.end()).to.be.below(1_000);
      expect(none).to.have.length(2);
      expect(none[0]?.status?.code).to.equal('MESSAGE_NOT_FOUND');
      expect(none[1]?.nextOffset).to.equal('1');
      expect(harness.gateway.fake.listenerCount).to.equal(0);
    });

    for (const [what, request, code] of [
      ['an offset beyond the end', { ...queueOf(0), offset: '1' }, 'ILLEGAL_OFFSET'],
      ['a negative offset', { ...queueOf(0), offset: '-1' }, 'ILLEGAL_OFFSET'],
      ['an unknown topic', { ...queueOf(0, 'unknown'), offset: '0' }, 'TOPIC_NOT_FOUND'],
      ['a queue that there is not', { ...queueOf(4), offset: '0' }, 'BAD_REQUEST'],
      ['no group', { ...queueOf(0), group: { name: '' } }, 'ILLEGAL_CONSUMER_GROUP'],
      [
        'a filter that makes no sense',
        { ...queueOf(0), filterExpression: { type: 'SQL', expression: 'a >' } },
        'ILLEGAL_FILTER_EXPRESSION',
      ],
    ] as const) {
      it(`refuses ${what} with ${code}`, async () => {
        const elements = await client.pull(request);
        expect(elements).to.have.length(1);
        expect(elements[0]?.status?.code).to.equal(code);
      });
    }
  });

  describe('offsets', () => {
    const group = { group: { name: 'billing' } };

    it('QueryOffset tells where a queue begins and ends, and where it was at a time', async () => {
      store(['a', 'b']);
      const query = async (request: object) => {
        const { status, offset } = await client.ask('queryOffset', { ...queueOf(0), ...request } as never);
        return status?.code === 'OK' ? offset : status?.code;
      };
      expect(await query({ queryOffsetPolicy: 'BEGINNING' })).to.equal('0');
      expect(await query({ queryOffsetPolicy: 'END' })).to.equal('2');
      expect(await query({ queryOffsetPolicy: 'TIMESTAMP', timestamp: { seconds: '0' } })).to.equal('0');
      expect(await query({ queryOffsetPolicy: 'TIMESTAMP', timestamp: { seconds: '99999999999' } })).to.equal('2');
      expect(await query({ queryOffsetPolicy: 'TIMESTAMP' })).to.equal('BAD_REQUEST');
    });

    it('UpdateOffset has the group go on there, GetOffset tells where that is', async () => {
      store(['a', 'b']);
      const moves: MoveRequest[] = [];
      const { tables } = harness.gateway.fake;
      harness.leader.on('MOVE', (request) => {
        const move = request as MoveRequest;
        moves.push(move);
        for (const { queueId, offset } of move.positions)
          tables.progress.enter(move.group, move.topic, queueId).next = offset;
        return logIndex(9);
      });
      const get = () => client.ask('getOffset', { ...group, ...queueOf(0) });
      expect((await get()).status?.code).to.equal('OFFSET_NOT_FOUND');
      const update = (offset: string) => client.ask('updateOffset', { ...group, ...queueOf(0), offset });
      expect((await update('2')).status?.code).to.equal('OK');
      const positions = [{ queueId: 0, offset: 2 }];
      expect(moves).to.deep.equal([{ group: 'billing', topic: 'orders', positions }]);
      expect(await get()).to.deep.include({ offset: '2' });
      expect((await update('3')).status?.code).to.equal('ILLEGAL_OFFSET');
      expect((await update('-1')).status?.code).to.equal('ILLEGAL_OFFSET');
      expect(moves).to.have.length(1);
    });
  });

  describe('priority', () => {
    it('stores a message in the queue of its priority, the last one at most, with its priority', async () => {
      for (const priority of [0, 2, 3, 99]) {
        const { status } = await client.send(messageOf(`p${priority}`, { priority }, { topic: { name: 'urgent' } }));
        expect(status?.code).to.equal('OK');
      }
      expect(harness.leader.stores.map(({ queueId }) => queueId)).to.deep.equal([0, 2, 3, 3]);
      const properties = harness.leader.stored.map((stored) => stored.properties.get('_SYS_MSG_PRIORITY_'));
      expect(properties).to.deep.equal(['0', '2', '3', '99']);
    });

    it('refuses what is none, and what the topic does not take', async () => {
      const codeOf = async (message: ReturnType<typeof messageOf>) => (await client.send(message)).status?.code;
      expect(await codeOf(messageOf('a', { priority: -1 }, { topic: { name: 'urgent' } }))).to.equal('BAD_REQUEST');
      const mismatch = 'MESSAGE_PROPERTY_CONFLICT_WITH_TYPE';
      expect(await codeOf(messageOf('a', {}, { topic: { name: 'urgent' } }))).to.equal(mismatch);
      expect(await codeOf(messageOf('a', { priority: 1 }))).to.equal(mismatch);
    });
  });

  describe('lite', () => {
    const lite = (liteTopic: string) => messageOf(`to ${liteTopic}`, { liteTopic }, { topic: { name: 'chat' } });
    const sync = async (request: Some<SyncLiteSubscriptionRequest>, by = client) =>
      (await by.ask('syncLiteSubscription', { ...named, ...request })).status?.code;
    const receive = (by = client, longPollingTimeout: object = { nanos: 1_000_000 }) =>
      by.receive({
        group: named.group,
        messageQueue: { topic: named.topic, id: -1 },
        longPollingTimeout,
      });

    async function meet(by = client): Promise<Telemetry> {
      const telemetry = by.openTelemetry();
      const subscriptions = [{ topic: named.topic, expression: { type: 'TAG', expression: '*' } as const }];
      telemetry.tell({ clientType: 'LITE_PUSH_CONSUMER', subscription: { group: named.group, subscriptions } });
      await until(() => telemetry.commands.length > 0, 'settings are merged');
      const { subscription } = telemetry.commands[0]!.settings!;
      expect(subscription).to.include({
        fifo: true,
        liteSubscriptionQuota: LITE_SUBSCRIPTIONS_MAX,
        maxLiteTopicSize: 64,
      });
      return telemetry;
    }

    it('topics come to be with the first message, through the leader, once', async () => {
      const { tables } = harness.gateway.fake;
      const asked: unknown[] = [];
      harness.leader.on('ADD_LITE', (request) => {
        asked.push(request);
        const { topic, lite: name } = request as { topic: string; lite: string };
        return tables.lite.add(topic, name);
      });
      for (const name of ['a', 'b', 'a']) expect((await client.send(lite(name))).status?.code).to.equal('OK');
      expect(asked).to.deep.equal(['a', 'b'].map((name) => ({ topic: 'chat', lite: name })));
      expect(harness.leader.stores.map(({ queueId }) => queueId)).to.deep.equal([0, 1, 0]);
      expect(harness.leader.stored[0]!.properties.get('__LITE_TOPIC')).to.equal('a');
      expect((await client.send(lite('not legal'))).status?.code).to.equal('ILLEGAL_LITE_TOPIC');
      expect((await client.send(lite('x'.repeat(65)))).status?.code).to.equal('ILLEGAL_LITE_TOPIC');
    });

    it('routes name one queue, whatever is behind it, and assignments the whole broker', async () => {
      harness.gateway.fake.tables.groups.put({ name: 'billing', ...groupDefaults, isFifo: true, createdAtMs: 1 });
      const { messageQueues } = await client.ask('queryRoute', { topic: named.topic });
      expect(messageQueues.map(({ id, acceptMessageTypes }) => [id, acceptMessageTypes])).to.deep.equal([
        [0, ['LITE']],
      ]);
      const { assignments } = await client.ask('queryAssignment', named);
      expect(assignments.map(({ messageQueue }) => messageQueue?.id)).to.deep.equal([-1]);
    });

    it('subscriptions are added, removed, replaced and cleared, each client for itself, and go with it', async () => {
      await meet();
      const other = harness.newClient('c2');
      await meet(other);
      const wanted = async (by = client): Promise<readonly string[] | undefined> => {
        await receive(by);
        return harness.leader.pops.at(-1)?.lite;
      };
      expect(await wanted()).to.deep.equal([]);
      for (const [action, names, after] of [
        ['PARTIAL_ADD', ['a'], ['a']],
        ['PARTIAL_ADD', ['b', 'a'], ['a', 'b']],
        ['PARTIAL_REMOVE', ['a', 'unknown'], ['b']],
        ['COMPLETE_ADD', ['c', 'd'], ['c', 'd']],
        ['COMPLETE_REMOVE', [], []],
        ['COMPLETE_ADD', ['e'], ['e']],
      ] as const) {
        expect(await sync({ action, liteTopicSet: names })).to.equal('OK');
        expect(await wanted(), action).to.deep.equal(after);
      }
      expect(await wanted(other)).to.deep.equal([]);
      await client.ask('notifyClientTermination', { group: named.group });
      expect(await wanted()).to.deep.equal([]);
    });

    it('subscriptions have limits, and must make sense', async () => {
      const names = Array.from({ length: LITE_SUBSCRIPTIONS_MAX }, (_, at) => `n${at}`);
      expect(await sync({ action: 'PARTIAL_ADD', liteTopicSet: ['a'] })).to.equal('UNRECOGNIZED_CLIENT_TYPE');
      await meet();
      expect(await sync({ action: 'COMPLETE_ADD', liteTopicSet: names })).to.equal('OK');
      const one = { action: 'PARTIAL_ADD', liteTopicSet: ['more'] } as const;
      expect(await sync(one)).to.equal('LITE_SUBSCRIPTION_QUOTA_EXCEEDED');
      expect(await sync({ action: 'PARTIAL_REMOVE', liteTopicSet: ['n0'] })).to.equal('OK');
      expect(await sync(one)).to.equal('OK');
      expect(await sync({ action: 'COMPLETE_ADD', liteTopicSet: [...names, 'x'] })).to.equal(
        'LITE_SUBSCRIPTION_QUOTA_EXCEEDED',
      );
      expect(await sync({ action: 'PARTIAL_ADD', liteTopicSet: ['not legal'] })).to.equal('ILLEGAL_LITE_TOPIC');
      expect(await sync({ action: 'PARTIAL_ADD', topic: { name: 'orders' } })).to.equal('ILLEGAL_TOPIC');
      expect(await sync({ action: 'PARTIAL_ADD', group: { name: '' } })).to.equal('ILLEGAL_CONSUMER_GROUP');
    });

    it('a group belongs to the parent topic that it subscribes to first', async () => {
      harness.gateway.fake.addTopic('news', 1, 'lite');
      await meet();
      const other = { topic: { name: 'news' } };
      expect(await sync({ action: 'COMPLETE_ADD' })).to.equal('OK');
      expect(harness.gateway.fake.tables.groups.get('billing')?.lite).to.deep.equal({
        topic: 'chat',
        isExclusive: false,
      });
      expect(await sync({ action: 'PARTIAL_ADD', liteTopicSet: ['a'], ...other })).to.equal('ILLEGAL_CONSUMER_GROUP');
      const [answer] = await client.receive({ group: named.group, messageQueue: other });
      expect(answer?.status).to.deep.equal({
        code: 'ILLEGAL_CONSUMER_GROUP',
        message: 'group billing is bound to the lite topics of chat, not news',
      });
      expect(await sync({ action: 'PARTIAL_ADD', liteTopicSet: ['a'], ...other, group: { name: 'readers' } })).to.equal(
        'OK',
      );
      harness.leader.on('BIND_LITE', () => ({ topic: 'chat', isExclusive: false }));
      const late = await sync({ action: 'PARTIAL_ADD', ...other, group: { name: 'late' } });
      expect(late, 'somebody else was faster').to.equal('ILLEGAL_CONSUMER_GROUP');
    });

    describe('exclusive', () => {
      let other: RawClient;
      let heard: readonly (() => string[])[];
      const add = (name: string, by = client) => sync({ action: 'PARTIAL_ADD', liteTopicSet: [name] }, by);
      const all = (names: readonly string[], by = client) => sync({ action: 'COMPLETE_ADD', liteTopicSet: names }, by);
      const wanted = async (by = client): Promise<readonly string[] | undefined> => {
        await receive(by);
        return harness.leader.pops.at(-1)?.lite;
      };
      const claim = (clientId: string, node: string, claimed: readonly string[]) =>
        harness.gateway.fake.tables.apply(
          { type: 'claim-lite', name: 'billing', client: clientId, node, claimed, released: [] },
          logIndex(99),
        );

      beforeEach(async () => {
        const lite = { topic: 'chat', isExclusive: true };
        harness.gateway.fake.tables.groups.put({ name: 'billing', ...groupDefaults, createdAtMs: 1, lite });
        other = harness.newClient('c2');
        const streams = [await meet(client), await meet(other)];
        heard = streams.map(
          ({ commands }) =>
            () =>
              commands.flatMap(({ notifyUnsubscribeLiteCommand: told }) =>
                told === undefined ? [] : [told.liteTopic],
              ),
        );
      });

      it('a lite topic goes to whoever subscribed last; whoever had it is told, as often as it wants it back', async () => {
        for (const name of ['a', 'b']) expect(await add(name)).to.equal('OK');
        expect(await add('a', other)).to.equal('OK');
        await until(() => heard[0]!().length === 1, 'the first one is told');
        expect([await wanted(), await wanted(other)]).to.deep.equal([['b'], ['a']]);
        expect(await all(['a', 'b', 'c'])).to.equal('OK');
        expect([await wanted(), await wanted(other)]).to.deep.equal([['b', 'c'], ['a']]);
        await until(() => heard[0]!().length === 2, 'it is told again');
        expect(heard.map((one) => one())).to.deep.equal([['a', 'a'], []]);
        expect(await add('a')).to.equal('OK');
        await until(() => heard[1]!().length === 1, 'the second one is told');
        expect([await wanted(), await wanted(other)]).to.deep.equal([['b', 'c', 'a'], []]);
      });

      it('is anybody’s when its owner does not want it any more, or is gone', async () => {
        const ownerOf = (name: string) => harness.gateway.fake.tables.owners.ownerOf('billing', name)?.client;
        for (const name of ['a', 'b', 'c', 'd']) await add(name, other);
        await sync({ action: 'PARTIAL_REMOVE', liteTopicSet: ['a'] }, other);
        expect(['a', 'b', 'c', 'd'].map(ownerOf)).to.deep.equal([undefined, 'c2', 'c2', 'c2']);
        await all(['b', 'c'], other);
        expect(['b', 'c', 'd'].map(ownerOf)).to.deep.equal(['c2', 'c2', undefined]);
        await all(['a', 'b']);
        expect(await wanted()).to.deep.equal(['a']);
        await other.ask('notifyClientTermination', { group: named.group });
        await until(() => ownerOf('c') === undefined, 'it is given up');
        await all(['a', 'b', 'c']);
        expect(await wanted()).to.deep.equal(['a', 'b', 'c']);
      });

      it('is lost to a client of another node, and not given up by the node that a client has left', async () => {
        const { owners } = harness.gateway.fake.tables;
        for (const name of ['a', 'b']) await add(name);
        claim('c9', 'n9', ['a']);
        await until(() => heard[0]!().length === 1, 'it is told');
        expect(await wanted()).to.deep.equal(['b']);
        claim('c1', 'n9', ['b']);
        await client.ask('notifyClientTermination', { group: named.group });
        expect(heard[0]!()).to.deep.equal(['a']);
        expect(owners.ownerOf('billing', 'b')).to.deep.equal({ client: 'c1', node: 'n9' });
      });

      it('is nobody’s when its client goes while the leader is asked', async () => {
        const { tables } = harness.gateway.fake;
        harness.leader.on('CLAIM_LITE', async (request) => {
          const { group: name, ...claim } = request as ClaimLiteRequest;
          tables.apply({ type: 'claim-lite', name, ...claim }, logIndex(98));
          if (claim.claimed.length > 0) await client.ask('notifyClientTermination', { group: named.group });
          return true;
        });
        expect(await add('a')).to.equal('UNRECOGNIZED_CLIENT_TYPE');
        await until(() => tables.owners.count('billing') === 0, 'it is given up');
        await meet(client);
        expect(await wanted()).to.deep.equal([]);
      });

      it('is claimed once for as long as nothing changes', async () => {
        let claims = 0;
        harness.leader.on('CLAIM_LITE', () => ++claims);
        claim('c1', 'n0', ['a']);
        for (let times = 0; times < 3; times++) await all(['a']);
        expect(claims).to.equal(0);
        await all(['a', 'b']);
        expect(claims).to.equal(1);
      });
    });

    it('a poll that waits goes on with what is subscribed meanwhile', async () => {
      await meet();
      // The leader has nothing until somebody takes the question back.
      const waitingPop = (request: unknown, { signal }: AtLeaderOptions) => {
        const { lite: names } = request as PopRequest;
        if (names?.includes('a') === true) return [];
        return new Promise((resolve) => signal!.addEventListener('abort', () => resolve([])));
      };
      harness.leader.on('POP', waitingPop);
      const poll = receive(client, { seconds: '3' });
      await until(() => harness.leader.pops.length === 1, 'the poll waits');
      expect(await sync({ action: 'PARTIAL_ADD', liteTopicSet: ['a'] })).to.equal('OK');
      await until(() => harness.leader.pops.length === 2, 'it is asked anew');
      expect((await poll)[0]?.status?.code).to.equal('MESSAGE_NOT_FOUND');
      expect(harness.leader.pops.map((pop) => pop.lite)).to.deep.equal([[], ['a']]);
    });

    it('a first subscription may say where to begin', async () => {
      await meet();
      const { tables } = harness.gateway.fake;
      for (const name of ['a', 'b']) tables.lite.add('chat', name);
      store(['0', '1', '2', '3'], { topic: 'chat' });
      const moves: MoveRequest[] = [];
      harness.leader.on('MOVE', (request) => {
        moves.push(request as MoveRequest);
        return logIndex(9);
      });
      const begin = async (offsetOption: object, name = 'a'): Promise<number | undefined> => {
        moves.length = 0;
        await sync({ action: 'COMPLETE_REMOVE' });
        expect(await sync({ action: 'PARTIAL_ADD', liteTopicSet: [name], offsetOption })).to.equal('OK');
        return moves[0]?.positions[0]?.offset;
      };
      expect(await begin({ policy: 'LAST' })).to.equal(undefined);
      expect(await begin({ policy: 'MIN' })).to.equal(0);
      expect(await begin({ policy: 'MAX' })).to.equal(4);
      expect(await begin({ offset: '2' })).to.equal(2);
      expect(await begin({ offset: '99' })).to.equal(4);
      expect(await begin({ tailN: '3' })).to.equal(1);
      expect(await begin({ tailN: '99' })).to.equal(0);
      expect(await begin({ timestamp: '99999999999999' })).to.equal(4);
      expect(moves[0]).to.include({ group: 'billing', topic: 'chat' });
      expect(await begin({ policy: 'MAX' }, 'later')).to.equal(undefined);
    });

    it('a subscription again, or of what another client has, moves nothing', async () => {
      await meet();
      const other = harness.newClient('c2');
      await meet(other);
      harness.gateway.fake.tables.lite.add('chat', 'a');
      let moves = 0;
      harness.leader.on('MOVE', () => logIndex(++moves));
      const add = { action: 'PARTIAL_ADD', liteTopicSet: ['a'], offsetOption: { policy: 'MAX' } } as const;
      await sync(add);
      await sync(add);
      await sync(add, other);
      expect(moves).to.equal(1);
    });
  });
});
