// ReceiveMessage and what becomes of what was received: limits, what a delivery looks like, clients that go, leaders that change.
import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { systemClock } from '../../../src/base/clock.ts';
import { brokerProperty } from '../../../src/format/message_properties.ts';
import { logIndex } from '../../../src/raft/types.ts';
import type { PopRequest, SettleRequest } from '../../../src/replica/consuming/types.ts';
import type { AtLeaderOptions } from '../../../src/rpc/gateway.ts';
import { receiptHandle } from '../../../src/rpc/rocketmq/handles.ts';
import { pollingTime } from '../../../src/rpc/rocketmq/polling_time.ts';
import type { ReceiveMessageRequest } from '../../../src/wire/rocketmq/service_messages.ts';
import { until } from '../harness.ts';
import type { Some } from './client.ts';
import { errorOf, poppedOf, putGroup, type RocketmqHarness, startRocketmq } from './harness.ts';

const of = { group: 'billing', topic: 'orders' };
const named = { group: { name: 'billing' }, topic: { name: 'orders' } };
const seconds = (count: number, nanos = 0) => ({ seconds: String(count), nanos });
const handleOf = (some: object = {}) =>
  receiptHandle({ queueId: 2, offset: 7, handle: logIndex(42), attempt: 3, ...some }, of);

describe('consumers of RocketMQ', () => {
  let harness: RocketmqHarness;

  beforeEach(async () => {
    harness = await startRocketmq();
  });

  afterEach(async () => {
    expect(harness.complaints).to.deep.equal([]);
    await harness[Symbol.asyncDispose]();
  });

  describe('ReceiveMessage', () => {
    const cases: readonly [what: string, request: Some<ReceiveMessageRequest>, code: string][] = [
      ['an invisible time of 10 s', { invisibleDuration: seconds(10) }, 'MESSAGE_NOT_FOUND'],
      ['an invisible time below 10 s', { invisibleDuration: seconds(9, 999_000_000) }, 'ILLEGAL_INVISIBLE_TIME'],
      ['an invisible time of 12 h', { invisibleDuration: seconds(43_200) }, 'MESSAGE_NOT_FOUND'],
      ['an invisible time above 12 h', { invisibleDuration: seconds(43_200, 1_000_000) }, 'ILLEGAL_INVISIBLE_TIME'],
      ['no invisible time', { invisibleDuration: undefined }, 'ILLEGAL_INVISIBLE_TIME'],
      ['none, but renewal', { invisibleDuration: undefined, autoRenew: true }, 'MESSAGE_NOT_FOUND'],
      ['a group of 120 characters', { group: { name: 'g'.repeat(120) } }, 'MESSAGE_NOT_FOUND'],
      ['a group of 121 characters', { group: { name: 'g'.repeat(121) } }, 'ILLEGAL_CONSUMER_GROUP'],
      ['a group without a name', { group: { name: '' } }, 'ILLEGAL_CONSUMER_GROUP'],
      ['no group', { group: undefined }, 'ILLEGAL_CONSUMER_GROUP'],
      ['a system group', { group: { name: 'CID_RMQ_SYS_TRANS' } }, 'ILLEGAL_CONSUMER_GROUP'],
      ['no topic', { messageQueue: undefined }, 'ILLEGAL_TOPIC'],
      ['an unknown topic', { messageQueue: { topic: { name: 'nowhere' } } }, 'TOPIC_NOT_FOUND'],
      ['an empty SQL filter', { filterExpression: { type: 'SQL', expression: '' } }, 'ILLEGAL_FILTER_EXPRESSION'],
      ['a broken SQL filter', { filterExpression: { type: 'SQL', expression: 'a >' } }, 'ILLEGAL_FILTER_EXPRESSION'],
      ['a SQL filter', { filterExpression: { type: 'SQL', expression: 'a > 5' } }, 'MESSAGE_NOT_FOUND'],
      ['a tag filter', { filterExpression: { type: 'TAG', expression: 'a || b' } }, 'MESSAGE_NOT_FOUND'],
    ];

    it('answers every limit with its code, first of all', async () => {
      for (const [what, request, code] of cases) {
        const [first] = await harness.client.receive(request);
        expect({ what, code: first?.status?.code }).to.deep.equal({ what, code });
      }
      const asked = cases.filter(([, , code]) => code === 'MESSAGE_NOT_FOUND').length;
      expect(harness.leader.pops, 'nobody else was asked').to.have.length(asked);
    });

    it('asks for messages of all queues, whichever is named, and for as many as one call may have', async () => {
      const filterExpression = { type: 'TAG', expression: 'a' } as const;
      const messageQueue = { topic: { name: 'orders' }, id: 3 };
      for (const batchSize of [-1, 0, 1, 32, 33])
        await harness.client.receive({ batchSize, messageQueue, filterExpression });
      await harness.client.receive({ autoRenew: true, attemptId: 'once' });
      const { pops } = harness.leader;
      expect(pops.map(({ countMax }) => countMax)).to.deep.equal([1, 1, 1, 32, 32, 32]);
      expect(pops[0]).to.include({ ...of, invisibleMs: 10_000 });
      expect(new Set(pops.map(({ attemptId }) => attemptId)), 'each call is one of its own').to.have.length(6);
      expect(pops[0]!.filter).to.deep.equal({ type: 'tag', expression: 'a' });
      expect(pops[5]).to.include({ invisibleMs: 60_000, attemptId: 'once' });
    });

    it('gives messages as they were sent, between the status and the time', async () => {
      const properties = {
        colour: 'red',
        [brokerProperty.messageGroup]: 'g',
        [brokerProperty.traceContext]: 'trace',
        [brokerProperty.bornHost]: 'there',
        [brokerProperty.deadLetterTopic]: 'was',
        [brokerProperty.deadLetterId]: 'once',
      };
      harness.leader.hands(poppedOf('m', properties, { attempt: 3 }));
      const topic = { resourceNamespace: '', name: 'orders' };
      const elements = await harness.client.receive({ messageQueue: { topic } });
      expect(elements.map((element) => Object.keys(element)[0])).to.deep.equal([
        'status',
        'message',
        'deliveryTimestamp',
      ]);
      expect(elements[0]!.status?.code).to.equal('OK');
      const atMs = Number(elements[2]!.deliveryTimestamp!.seconds) * 1_000;
      expect(atMs).to.be.closeTo(Date.now(), 30_000);
      const { systemProperties: system, ...message } = elements[1]!.message!;
      expect(message).to.deep.equal({
        topic,
        body: Buffer.from('body of m'),
        userProperties: { colour: 'red', __SHARDINGKEY: 'g', TRACE_CONTEXT: 'trace' },
      });
      const checksum = createHash('md5').update('body of m').digest('hex').toUpperCase();
      expect(system).to.deep.include({
        messageId: 'm',
        bodyDigest: { type: 'MD5', checksum },
        bodyEncoding: 'IDENTITY',
        messageType: 'FIFO',
        messageGroup: 'g',
        bornTimestamp: seconds(1_700_000_000, 123_000_000),
        bornHost: 'there',
        storeHost: '127.0.0.1:8081',
        traceContext: 'trace',
        queueId: 2,
        queueOffset: '0',
        deliveryAttempt: 3,
        receiptHandle: handleOf(),
        deadLetterQueue: { topic: 'was', messageId: 'once' },
      });
      expect(system).not.to.have.any.keys('tag', 'deliveryTimestamp', 'priority', 'liteTopic');
    });

    const kinds: readonly [properties: Record<string, string>, type: string, more: object][] = [
      [{}, 'NORMAL', {}],
      [
        { [brokerProperty.deliverAtMs]: '1700000000007' },
        'DELAY',
        { deliveryTimestamp: seconds(1_700_000_000, 7_000_000) },
      ],
      [{ [brokerProperty.transaction]: 'true', __transactionId__: 'm' }, 'TRANSACTION', {}],
      [{ [brokerProperty.bodyEncoding]: 'GZIP' }, 'NORMAL', { bodyEncoding: 'GZIP' }],
      [{ [brokerProperty.priority]: '3' }, 'PRIORITY', { priority: 3 }],
      [{ [brokerProperty.liteTopic]: 'x' }, 'LITE', { liteTopic: 'x' }],
    ];
    for (const [properties, messageType, more] of kinds) {
      it(`knows a message ${JSON.stringify(properties)} as ${messageType}`, async () => {
        harness.leader.hands(poppedOf('m', properties));
        const [message] = await harness.client.messages();
        expect(message!.systemProperties).to.deep.include({ messageType, ...more });
        const shown = messageType === 'TRANSACTION' ? { __transactionId__: 'm' } : {};
        expect(message!.userProperties).to.deep.equal(shown);
      });
    }

    it('asks again while leaders change, and says that nothing came when the time is over', async () => {
      harness.leader.failing('POP', errorOf('OUTCOME_UNKNOWN'), errorOf('NOT_LEADER'), errorOf('NO_LEADER'));
      harness.leader.hands(poppedOf('m'));
      harness.leader.failing('POP', errorOf('OUTCOME_UNKNOWN'), errorOf('NOT_LEADER'), errorOf('NO_LEADER'));
      expect(await harness.client.messages({ longPollingTimeout: seconds(3) })).to.have.length(1);
      harness.leader.on('POP', () => {
        throw errorOf('NO_LEADER');
      });
      const [first] = await harness.client.receive({ longPollingTimeout: seconds(0, 200_000_000) });
      expect(first?.status?.code).to.equal('MESSAGE_NOT_FOUND');
    });

    it('asks for the same messages again where they are in order, whatever became of the first asking', async () => {
      putGroup(harness.gateway, 'billing', { isFifo: true });
      harness.leader.on('POP', () => {
        if (harness.leader.pops.length < 3) throw errorOf('OUTCOME_UNKNOWN');
        return [];
      });
      await harness.client.receive({ longPollingTimeout: seconds(1) });
      await harness.client.receive();
      await harness.client.receive({ attemptId: 'mine' });
      const attempts = harness.leader.pops.map(({ attemptId }) => attemptId);
      expect(attempts[0]).to.have.length(36);
      expect(attempts.slice(1, 3)).to.deep.equal([attempts[0], attempts[0]]);
      expect(attempts[3]).not.to.equal(attempts[0]);
      expect(attempts[4]).to.equal('mine');
    });

    it('leaves room for other calls of the connection, however many wait', async () => {
      harness.leader.on('POP', (_request, { signal }: AtLeaderOptions) => {
        return new Promise((resolve) => signal!.addEventListener('abort', () => resolve([])));
      });
      const polls = Array.from({ length: 300 }, () => harness.client.openReceive({ longPollingTimeout: seconds(20) }));
      for (const poll of polls) poll.on('error', () => {});
      await until(() => harness.leader.pops.length === polls.length, 'all wait');
      const { status } = await harness.client.ask('queryRoute', named, { deadline: Date.now() + 2_000 });
      expect(status?.code).to.equal('OK');
      for (const poll of polls) poll.cancel();
    });

    it('says when too many wait', async () => {
      harness.leader.failing('POP', errorOf('OVERLOADED'));
      const [first] = await harness.client.receive();
      expect(first?.status?.code).to.equal('TOO_MANY_REQUESTS');
    });

    describe('of a client that goes', () => {
      const waiting = (popped = [poppedOf('m')]) => {
        let signal: AbortSignal | undefined;
        let answer = (): void => {};
        harness.leader.on('POP', (_request, options: AtLeaderOptions) => {
          signal = options.signal;
          return new Promise((resolve) => {
            answer = () => resolve(popped);
          });
        });
        return { isAborted: () => signal?.aborted === true, answer: () => answer() };
      };

      it('ends the waiting, and gives back what comes all the same', async () => {
        const pop = waiting();
        const call = harness.client.openReceive({ longPollingTimeout: seconds(20), autoRenew: true });
        call.on('error', () => {});
        await until(() => harness.leader.pops.length === 1, 'the leader is asked');
        call.cancel();
        await until(pop.isAborted, 'the leader hears of it');
        pop.answer();
        await until(() => harness.leader.settles.length === 1, 'it is given back');
        expect(harness.leader.settles[0]).to.deep.equal({
          ...of,
          verdicts: [
            {
              receipt: { queueId: 2, offset: 7, handle: 42 },
              verdict: { kind: 'change', invisibleMs: 0, mode: 'uncounted' },
            },
          ],
        });
      });

      it('has it all back before the node has stopped', async () => {
        const pop = waiting();
        const call = harness.client.openReceive({ longPollingTimeout: seconds(20) });
        call.on('error', () => {});
        await until(() => harness.leader.pops.length === 1, 'the leader is asked');
        let isBack = false;
        harness.leader.on('SETTLE', async () => {
          await new Promise((resolve) => setTimeout(resolve, 100));
          isBack = true;
          return [];
        });
        call.cancel();
        await until(pop.isAborted, 'the leader hears of it');
        pop.answer();
        await until(() => harness.leader.settles.length === 1, 'it is given back');
        await harness.stop();
        expect(isBack).to.equal(true);
      });

      it('ends the waiting when the node stops, too', async () => {
        const pop = waiting([]);
        const answered = harness.client.receive({ longPollingTimeout: seconds(20) });
        await until(() => harness.leader.pops.length === 1, 'the leader is asked');
        const stopped = harness.stop();
        await until(pop.isAborted, 'the leader hears of it');
        pop.answer();
        expect((await answered)[0]?.status?.code).to.equal('MESSAGE_NOT_FOUND');
        await stopped;
      });
    });
  });

  describe('the time of a poll', () => {
    const terms = { askedMs: null, leftMs: 33_000, settings: undefined, version: '1.0.8' };
    const rows: readonly [what: string, some: Partial<Parameters<typeof pollingTime>[0]>, waitMs: number | string][] = [
      ['is what the client asks for', { askedMs: 3_000 }, 3_000],
      ['is a moment at least', { askedMs: 0 }, 1],
      ['is 20 s at most', { askedMs: 20_000 }, 20_000],
      ['is 20 s at most, whatever is asked for', { askedMs: 30_000 }, 20_000],
      ['ends before the client stops listening', { askedMs: 6_000, leftMs: 6_000 }, 5_700],
      ['is what is left when more is asked for', { askedMs: 10_000, leftMs: 5_000 }, 4_700],
      ['is refused when less than 5 s are left of more', { askedMs: 5_000, leftMs: 4_999 }, 'INVALID_ARGUMENT'],
      ['is refused by its own code', { askedMs: 5_000, leftMs: 4_999, version: '5.0.3' }, 'ILLEGAL_POLLING_TIME'],
      ['is refused by the general code', { askedMs: 5_000, leftMs: 4_999, version: '5.0.2' }, 'INVALID_ARGUMENT'],
      ['is short when little is left and little is asked for', { askedMs: 100, leftMs: 2_000 }, 100],
      ['follows from the deadline if nobody says', { leftMs: 10_000 }, 8_500],
      [
        'follows from the deadline and the request timeout',
        { leftMs: 10_000, settings: { requestTimeout: seconds(8) } as never },
        6_000,
      ],
      ['is 20 s without any', { leftMs: Number.POSITIVE_INFINITY }, 20_000],
    ];
    for (const [what, some, expected] of rows) {
      it(what, () => {
        const result = (): unknown => {
          try {
            return pollingTime({ ...terms, ...some }).waitMs;
          } catch (error) {
            return (error as { code: string }).code;
          }
        };
        expect(result()).to.equal(expected);
      });
    }
  });

  describe('AckMessage', () => {
    const ack = (...handles: string[]) =>
      harness.client.ask('ackMessage', {
        ...named,
        entries: handles.map((receiptHandle, at) => ({ messageId: `m${at}`, receiptHandle })),
      } as never);

    it('hands verdicts to the leader, and answers each entry', async () => {
      harness.leader.on('SETTLE', () => [
        { isDone: true, handle: 0 },
        { isDone: false, handle: 0 },
      ]);
      const unreadable = receiptHandle(
        { queueId: 0, offset: 1, handle: logIndex(2), attempt: 1 },
        { ...of, group: 'x' },
      );
      const { status, entries } = await ack(handleOf({ offset: 1 }), unreadable, handleOf({ offset: 2 }));
      expect(status?.code).to.equal('MULTIPLE_RESULTS');
      expect(entries.map((entry) => [entry.messageId, entry.status?.code])).to.deep.equal([
        ['m0', 'OK'],
        ['m1', 'INVALID_RECEIPT_HANDLE'],
        ['m2', 'INVALID_RECEIPT_HANDLE'],
      ]);
      expect(harness.leader.settles[0]!.verdicts.map(({ receipt }) => receipt.offset)).to.deep.equal([1, 2]);
    });

    for (const [what, handle] of [
      ['what is none', 'nonsense'],
      ['nothing', ''],
      ['numbers beyond reason', '1-0-9999999999999999-1-1-00000000'],
    ] as const) {
      it(`refuses ${what} for a handle, in the response, too`, async () => {
        const { status } = await ack(handle);
        expect(status).to.deep.equal({ code: 'INVALID_RECEIPT_HANDLE', message: 'receipt handle is expired' });
        expect(harness.leader.settles).to.have.length(0);
      });
    }

    it('refuses to be told nothing', async () => {
      expect((await ack()).status?.code).to.equal('BAD_REQUEST');
    });

    it('asks again while leaders change', async () => {
      harness.leader.failing('SETTLE', errorOf('OUTCOME_UNKNOWN'));
      expect((await ack(handleOf())).status?.code).to.equal('OK');
    });
  });

  describe('ChangeInvisibleDuration', () => {
    const change = (some: object = {}) =>
      harness.client.ask('changeInvisibleDuration', {
        ...named,
        receiptHandle: handleOf(),
        invisibleDuration: seconds(5),
        ...some,
      } as never);
    const rows: readonly [what: string, duration: object | undefined, code: string, ms: number][] = [
      ['nothing', undefined, 'OK', 0],
      ['0', seconds(0), 'OK', 0],
      ['5 ms', seconds(0, 5_000_000), 'OK', 5],
      ['12 h', seconds(43_200), 'OK', 43_200_000],
      ['more than 12 h', seconds(43_200, 1_000_000), 'ILLEGAL_INVISIBLE_TIME', 0],
      ['less than 0', seconds(-1), 'ILLEGAL_INVISIBLE_TIME', 0],
    ];
    for (const [what, invisibleDuration, code, invisibleMs] of rows) {
      it(`answers ${what} with ${code}`, async () => {
        expect((await change({ invisibleDuration })).status?.code).to.equal(code);
        const verdicts = harness.leader.settles.flatMap((one) => one.verdicts.map(({ verdict }) => verdict));
        expect(verdicts).to.deep.equal(code === 'OK' ? [{ kind: 'change', invisibleMs, mode: 'handle' }] : []);
      });
    }

    it('answers with a new handle, and with the old one when it is refused', async () => {
      harness.leader.on('SETTLE', () => [{ isDone: true, handle: logIndex(99) }]);
      expect((await change()).receiptHandle).to.equal(handleOf({ handle: 99 }));
      harness.leader.on('SETTLE', () => [{ isDone: false, handle: logIndex(0) }]);
      const refused = await change();
      expect(refused.status?.code).to.equal('INVALID_RECEIPT_HANDLE');
      expect(refused.receiptHandle).to.equal(handleOf());
    });

    it('does not count the next attempt when it only suspends', async () => {
      await change({ suspend: true });
      expect(harness.leader.settles[0]!.verdicts[0]!.verdict).to.include({ mode: 'uncounted' });
    });

    it('finds the handle that an asking gave whose answer was lost', async () => {
      const queue = harness.gateway.fake.tables.progress.enter('billing', 'orders', 2);
      const deliver = (attempt: number): void => {
        queue.handOut(7, systemClock.wallMs() + 5_000, logIndex(99), '').attempt = attempt;
      };
      harness.leader.on('SETTLE', () => [{ isDone: false, handle: logIndex(0) }]);
      deliver(3);
      expect((await change()).status?.code, 'not without an earlier asking').to.equal('INVALID_RECEIPT_HANDLE');
      harness.leader.failing('SETTLE', errorOf('OUTCOME_UNKNOWN'));
      expect((await change()).receiptHandle).to.equal(handleOf({ handle: 99 }));
      deliver(4);
      harness.leader.failing('SETTLE', errorOf('OUTCOME_UNKNOWN'));
      expect((await change()).status?.code, 'somebody else has it').to.equal('INVALID_RECEIPT_HANDLE');
    });
  });

  describe('ForwardMessageToDeadLetterQueue', () => {
    const forward = (receiptHandle = handleOf()) =>
      harness.client.ask('forwardMessageToDeadLetterQueue', { ...named, receiptHandle, messageId: 'm' } as never);

    it('has the leader put the message away', async () => {
      expect((await forward()).status?.code).to.equal('OK');
      expect(harness.leader.settles[0]!.verdicts[0]!.verdict).to.deep.equal({ kind: 'bury' });
    });

    it('says yes whatever came of it, unless the handle cannot be read', async () => {
      harness.leader.on('SETTLE', () => [{ isDone: false, handle: logIndex(0) }]);
      expect((await forward()).status?.code).to.equal('OK');
      expect((await forward('nonsense')).status?.code).to.equal('INVALID_RECEIPT_HANDLE');
    });
  });

  it('finds topics and groups by the namespace of the name or of the call, and shows names as they were sent', async () => {
    harness.gateway.fake.addTopic('shop%orders', 2);
    harness.gateway.fake.addTopic('%DLQ%shop%billing', 1);
    const inHeader = harness.newClient('c2', { 'x-mq-namespace': 'shop' });
    const inName = { resourceNamespace: 'shop', name: 'orders' };
    const group = { resourceNamespace: 'shop', name: 'billing' };
    harness.leader.on('POP', () => [poppedOf('m')]);
    const [first] = await inHeader.messages();
    const [second] = await harness.client.messages({ messageQueue: { topic: inName }, group });
    const [third] = await inHeader.messages({ messageQueue: { topic: { name: '%DLQ%billing' } } });
    expect(harness.leader.pops.map((pop: PopRequest) => `${pop.group} ${pop.topic}`)).to.deep.equal([
      'shop%billing shop%orders',
      'shop%billing shop%orders',
      'shop%billing %DLQ%shop%billing',
    ]);
    expect(first!.topic).to.deep.equal({ resourceNamespace: '', name: 'orders' });
    expect(second!.topic).to.deep.equal(inName);
    expect(third!.topic?.name).to.equal('%DLQ%billing');
    const entries = [{ messageId: 'm', receiptHandle: first!.systemProperties!.receiptHandle! }];
    await harness.client.ask('ackMessage', { topic: inName, group, entries } as never);
    const settled: SettleRequest = harness.leader.settles[0]!;
    expect(settled).to.include({ group: 'shop%billing', topic: 'shop%orders' });
  });
});
