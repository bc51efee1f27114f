// A producer before real gRPC servers that fail in every way there is: what it says is true, and nothing is in the log
// twice or out of order.
import { expect } from 'chai';
import { type ErrorCode, errorTable, type TLedgerError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { TLedgerClient } from '../../src/client/client.ts';
import type { ProducerOptions } from '../../src/client/options.ts';
import { queueOfKey } from '../../src/client/topics.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { until } from '../rpc/harness.ts';
import { bodyOf, FakeGroup, type Verdict } from './fake_server.ts';

const apply: Verdict = { kind: 'apply' };

interface Outcome {
  readonly body: string;
  readonly error: TLedgerError | undefined;
  readonly queueOffset: number | null;
}

describe('client: producer', () => {
  let group: FakeGroup;
  let client: TLedgerClient;

  async function start(nodes = 1): Promise<void> {
    group = await FakeGroup.start(nodes);
    client = new TLedgerClient({ endpoints: group.endpoints, timeoutMs: 20_000 });
  }

  function send(producer: ReturnType<TLedgerClient['producer']>, body: string, queue = 0): Promise<Outcome> {
    return producer.send({ topic: 't', queue, body: Buffer.from(body) }).then(
      ({ queueOffset }) => ({ body, error: undefined, queueOffset }),
      (error: TLedgerError) => ({ body, error, queueOffset: null }),
    );
  }

  function sendMany(options: ProducerOptions, count: number, queue = 0): Promise<Outcome[]> {
    const producer = client.producer(options);
    return Promise.all(Array.from({ length: count }, (_, at) => send(producer, `m${at}`, queue)));
  }

  const small = { frameCountMax: 5, sendTimeoutMs: 20_000 };

  afterEach(async () => {
    await group.stop();
    await client.close();
  });

  it('sends what was submitted in one turn as one frame, and says where each message is', async () => {
    await start();
    const outcomes = await sendMany({}, 100);
    expect(outcomes.map(({ queueOffset }) => queueOffset)).to.deep.equal(outcomes.map((_, at) => at));
    expect(group.bodies('t', 0)).to.deep.equal(outcomes.map(({ body }) => body));
    expect(group.nodes[0]!.seen).to.have.length(1);
  });

  it('numbers all its messages in one sequence, over queues and frames', async () => {
    await start();
    const producer = client.producer({ frameCountMax: 2 });
    await Promise.all([0, 1, 2].flatMap((queue) => [send(producer, 'a', queue), send(producer, 'b', queue)]));
    await send(producer, 'c', 1);
    const { seen } = group.nodes[0]!;
    expect(new Set(seen.map(({ producerId }) => producerId)).size).to.equal(1);
    expect(seen[0]!.producerId).to.match(/^[0-9a-f]{16}$/);
    expect(seen.map(({ sequence }) => sequence)).to.deep.equal([1, 3, 5, 7]);
  });

  it('keeps no more frames under way than its window, and fills frames while they wait', async () => {
    await start();
    let underWay = 0;
    let most = 0;
    group.decide = () => {
      most = Math.max(most, ++underWay);
      setTimeout(() => underWay--, 5);
      return { kind: 'apply', delayMs: 5 };
    };
    await sendMany({ windowFramesMax: 2, frameCountMax: 10 }, 100);
    expect(group.nodes[0]!.seen).to.have.length(10);
    expect(group.bodies('t', 0)).to.have.length(100);
  });

  it('finds queues that its topic gets, within half a minute, and then gives them their part only', async () => {
    await start();
    const producer = client.producer();
    const anywhere = () => producer.send({ topic: 't', body: Buffer.from('x') });
    for (let count = 0; count < 40; count++) await anywhere();
    group.topics.set('t', 8);
    for (let count = 0; count < 8; count++) await anywhere();
    const held = () => Array.from({ length: 8 }, (_, queue) => group.bodies('t', queue).length);
    expect(held()).to.deep.equal([12, 12, 12, 12, 0, 0, 0, 0]);
    const { now } = Date;
    try {
      Date.now = () => now() + 31_000;
      await anywhere();
      await new Promise((resolve) => setTimeout(resolve, 200));
    } finally {
      Date.now = now;
    }
    for (let count = 0; count < 31; count++) await anywhere();
    expect(held().reduce((sum, one) => sum + one, 0)).to.equal(80);
    for (const count of held().slice(0, 4)) expect(count).to.be.within(15, 17);
    for (const count of held().slice(4)) expect(count).to.be.within(3, 5);
  });

  it('sends batches and records that are encoded already', async () => {
    await start();
    const producer = client.producer({ frameCountMax: 3 });
    const messages = ['a', 'b', 'c', 'd', 'e'].map((body) => ({ body: Buffer.from(body) }));
    const receipt = await producer.sendBatch('t', 1, messages);
    expect(receipt).to.deep.equal({
      topic: 't',
      queue: 1,
      count: 5,
      runs: [
        { firstOffset: 0, count: 3 },
        { firstOffset: 3, count: 2 },
      ],
    });
    const record = encodeMessageRecord({ topic: 't', queueId: 1, body: Buffer.from('f'), bornAtMs: 1 });
    const sent = await producer.sendRecords('t', 1, Buffer.concat([record, record]), 2);
    expect(sent).to.deep.equal({ topic: 't', queue: 1, queueOffset: 5 });
    expect(group.bodies('t', 1)).to.deep.equal(['a', 'b', 'c', 'd', 'e', 'f', 'f']);
  });

  describe('choice of the queue', () => {
    it('sends equal keys to the queue their CRC-32 names', async () => {
      await start();
      const producer = client.producer();
      for (const orderKey of ['', 'a', 'order-17', Buffer.from([0xff, 0x00])]) {
        const { queue } = await producer.send({ topic: 't', orderKey, body: Buffer.from('x') });
        expect(queue).to.equal(queueOfKey(orderKey, 4));
      }
      expect(queueOfKey('123456789', 2 ** 32), 'the check value of CRC-32').to.equal(0xcbf43926);
    });

    it('takes turns frame by frame without a key', async () => {
      await start();
      const producer = client.producer();
      const queues: number[] = [];
      for (let round = 0; round < 8; round++) {
        const receipts = await Promise.all([1, 2, 3].map(() => producer.send({ topic: 't', body: Buffer.from('x') })));
        expect(new Set(receipts.map(({ queue }) => queue)).size, 'one frame').to.equal(1);
        queues.push(receipts[0]!.queue);
      }
      expect([...queues].sort()).to.deep.equal([0, 0, 1, 1, 2, 2, 3, 3]);
    });
  });

  it('spreads messages without a key evenly, though frames differ in size', async () => {
    await start();
    const producer = client.producer({ frameCountMax: 100 });
    const counts = [0, 0, 0, 0];
    for (let round = 0; round < 80; round++) {
      const size = round % 4 === 0 ? 90 : 3;
      const body = Buffer.from('x');
      const receipts = await Promise.all(Array.from({ length: size }, () => producer.send({ topic: 't', body })));
      for (const { queue } of receipts) counts[queue]!++;
    }
    expect(Math.max(...counts) - Math.min(...counts), counts.join()).to.be.at.most(100);
  });

  describe('what it refuses or is refused', () => {
    const refusals: readonly (readonly [string, Partial<Parameters<typeof message>[0]>, string])[] = [
      ['an empty body', { body: '' }, 'BODY_EMPTY'],
      ['a body over 4 MiB', { body: 'x'.repeat(4 * 2 ** 20 + 1) }, 'BODY_TOO_LARGE'],
      ['an illegal topic', { topic: '../t' }, 'ILLEGAL_TOPIC'],
      ['an unknown topic', { topic: 'nowhere' }, 'TOPIC_NOT_FOUND'],
      ['a queue out of range', { queue: 4 }, 'QUEUE_OUT_OF_RANGE'],
      ['an illegal tag', { tag: 'a|b' }, 'ILLEGAL_TAG'],
    ];
    const message = (over: { body?: string; topic?: string; queue?: number; tag?: string }) => ({
      topic: 't',
      queue: 0,
      ...over,
      body: Buffer.from(over.body ?? 'x'),
    });
    for (const [what, over, code] of refusals) {
      it(`${what}: ${code}, and the next message is not the worse for it`, async () => {
        await start();
        const producer = client.producer();
        const failure = await producer.send(message(over)).then(
          () => undefined,
          (error: TLedgerError) => error.code,
        );
        expect(failure).to.equal(code);
        expect((await send(producer, 'next')).queueOffset).to.equal(0);
      });
    }

    it('more than its buffer holds: OVERLOADED, until ready', async () => {
      await start();
      group.decide = () => ({ kind: 'apply', delayMs: 10 });
      const producer = client.producer({ bufferBytesMax: 5_000 });
      const body = 'x'.repeat(2_000);
      const sent = [send(producer, body), send(producer, body)];
      expect(producer.isWritable).to.equal(true);
      sent.push(send(producer, body));
      expect(producer.isWritable).to.equal(false);
      expect((await send(producer, body)).error?.code).to.equal('OVERLOADED');
      await producer.ready();
      expect(producer.isWritable).to.equal(true);
      expect((await Promise.all(sent)).map(({ error }) => error)).to.deep.equal([undefined, undefined, undefined]);
    });

    it('a frame a node refuses for good: exactly its messages fail, those behind it arrive', async () => {
      await start();
      group.decide = ({ records }) => {
        return records.includes('m7') ? { kind: 'refuse-late', code: 'QUEUE_OUT_OF_RANGE' } : apply;
      };
      const outcomes = await sendMany(small, 30);
      const failed = outcomes.filter(({ error }) => error !== undefined);
      expect(failed.map(({ body }) => body)).to.deep.equal(['m5', 'm6', 'm7', 'm8', 'm9']);
      expect(new Set(failed.map(({ error }) => error?.code))).to.deep.equal(new Set(['QUEUE_OUT_OF_RANGE']));
      const arrived = outcomes.filter(({ error }) => error === undefined).map(({ body }) => body);
      expect(group.bodies('t', 0)).to.deep.equal(arrived);
    });
  });

  describe('an error that overtakes acknowledgements', () => {
    /** The second and third frame are in the log, and nobody hears of it; the fourth is refused, once or for ever. */
    const script = (code: ErrorCode, isOnce: boolean, onRefused: () => void = () => {}) => {
      let frames = 0;
      group.decide = () => {
        frames++;
        if (frames === 2 || frames === 3) return { kind: 'apply-unheard' };
        if (frames !== 4 && (isOnce || frames < 4)) return apply;
        onRefused();
        return { kind: 'refuse', code };
      };
    };

    it('is not taken for the answer to a frame that is in the log already', async () => {
      await start();
      script('QUEUE_OUT_OF_RANGE', true);
      const outcomes = await sendMany(small, 30);
      expect(outcomes.map(({ error }) => error?.code)).to.deep.equal(outcomes.map(() => undefined));
      expect(group.bodies('t', 0)).to.deep.equal(outcomes.map(({ body }) => body));
    });

    it('leaves unknown what may be in the log when nobody can be reached any more', async () => {
      await start();
      const [node] = group.nodes;
      script('NO_LEADER', false, () => setTimeout(() => node!.kill(), 20));
      const outcomes = await sendMany({ frameCountMax: 5, sendTimeoutMs: 1_000 }, 20);
      const inLog = group.bodies('t', 0);
      expect(inLog).to.have.length(15);
      for (const { body, error } of outcomes.filter(({ error }) => error !== undefined)) {
        if (inLog.includes(body)) expect(error?.code, body).to.equal('OUTCOME_UNKNOWN');
      }
      expect(outcomes.filter(({ error }) => error?.code === 'OUTCOME_UNKNOWN').length).to.be.at.least(10);
    });
  });

  describe('when a stream breaks', () => {
    for (const applied of [false, true]) {
      it(`sends again, ${applied ? 'and what had arrived is recognised' : 'as it had not arrived'}`, async () => {
        await start();
        let frames = 0;
        group.decide = () => (++frames === 3 ? { kind: 'drop', applied } : apply);
        const outcomes = await sendMany(small, 30);
        expect(outcomes.map(({ error }) => error)).to.deep.equal(outcomes.map(() => undefined));
        expect(outcomes.map(({ queueOffset }) => queueOffset)).to.deep.equal(outcomes.map((_, at) => at));
        expect(group.bodies('t', 0)).to.deep.equal(outcomes.map(({ body }) => body));
        const sequences = group.nodes[0]!.seen.map(({ sequence }) => sequence);
        expect(sequences.slice(0, 4), 'the same sequence again').to.deep.equal([1, 6, 11, 11]);
      });
    }

    for (const code of ['NOT_LEADER', 'NO_LEADER', 'OVERLOADED', 'SHUTTING_DOWN', 'TRANSFERRING'] as const) {
      it(`sends again after ${code}`, async () => {
        await start(2);
        let frames = 0;
        group.decide = () => (++frames <= 2 ? { kind: 'refuse', code } : apply);
        const outcomes = await sendMany(small, 30);
        expect(outcomes.every(({ error }) => error === undefined)).to.equal(true);
        expect(group.bodies('t', 0)).to.deep.equal(outcomes.map(({ body }) => body));
      });
    }

    it('moves to another node when its own dies, within tens of milliseconds', async () => {
      await start(3);
      const producer = client.producer();
      await send(producer, 'before');
      const first = group.nodes.findIndex(({ streams }) => streams > 0);
      group.lead((first + 1) % 3);
      group.nodes[first]!.kill();
      const time = new WorkingTime();
      expect((await send(producer, 'after')).error).to.equal(undefined);
      expect(time.end()).to.be.below(500);
      expect(group.bodies('t', 0)).to.deep.equal(['before', 'after']);
    });

    it('leaves a node that has stopped answering', async () => {
      await start(2);
      group.decide = (_, node) => (node === group.nodes[0] ? { kind: 'silence' } : apply);
      const outcomes = await sendMany({ ...small, stallTimeoutMs: 100 }, 10);
      expect(outcomes.every(({ error }) => error === undefined)).to.equal(true);
      expect(group.bodies('t', 0)).to.deep.equal(outcomes.map(({ body }) => body));
    });
  });

  describe('a node that is silent', () => {
    it('is left as soon as others name another leader, long before it counts as dead', async () => {
      await start(3);
      const producer = client.producer(small);
      await send(producer, 'before');
      group.decide = (_, node) => (node === group.nodes[0] ? { kind: 'silence' } : apply);
      const waiting = send(producer, 'after');
      await new Promise((resolve) => setTimeout(resolve, 600));
      const time = new WorkingTime();
      group.lead(1);
      expect((await waiting).error).to.equal(undefined);
      expect(time.end()).to.be.below(900);
      expect(group.bodies('t', 0)).to.deep.equal(['before', 'after']);
    });

    it('is waited for while nobody else leads', async () => {
      await start(3);
      const producer = client.producer(small);
      await send(producer, 'before');
      group.decide = () => ({ kind: 'apply', delayMs: 900 });
      expect((await send(producer, 'slow')).error).to.equal(undefined);
      expect(
        group.nodes.flatMap(({ seen }) => seen),
        'nothing was sent twice',
      ).to.have.length(2);
    });
  });

  describe('the leader', () => {
    it('is followed when a reply names it, without anything becoming doubtful', async () => {
      await start(3);
      const producer = client.producer();
      for (let at = 0; at < 20; at++) {
        if (at === 3) group.lead(2);
        await send(producer, `m${at}`);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      expect(group.nodes[2]!.seen.length, 'frames the leader got').to.be.greaterThan(10);
      const seen = group.nodes.flatMap((node) => node.seen);
      expect(seen, 'no frame was sent twice').to.have.length(20);
      expect(new Set(seen.map(({ producerId }) => producerId)).size).to.equal(1);
    });

    it('is left alone when it cannot be reached: any node will do', async () => {
      await start(2);
      group.nodes[1]!.kill();
      group.lead(1);
      const outcomes = await sendMany(small, 30);
      expect(outcomes.every(({ error }) => error === undefined)).to.equal(true);
    });
  });

  describe('at the deadline', () => {
    const short = { sendTimeoutMs: 500 };

    it('OUTCOME_UNKNOWN for what was sent and not answered', async () => {
      await start();
      const producer = client.producer(short);
      await send(producer, 'first');
      group.decide = () => ({ kind: 'silence' });
      expect((await send(producer, 'sent')).error?.code).to.equal('OUTCOME_UNKNOWN');
    });

    it('OUTCOME_UNKNOWN, not failure, when the answer was lost and the node, too', async () => {
      await start();
      const producer = client.producer(short);
      await send(producer, 'first');
      group.decide = (_, node) => {
        setImmediate(() => node.kill());
        return { kind: 'drop', applied: true };
      };
      expect((await send(producer, 'sent')).error?.code).to.equal('OUTCOME_UNKNOWN');
      expect(group.bodies('t', 0), 'it did happen').to.deep.equal(['first', 'sent']);
    });

    it('NO_LEADER when nodes answered that there was none', async () => {
      await start();
      const producer = client.producer(short);
      await send(producer, 'first');
      group.decide = () => ({ kind: 'refuse', code: 'NO_LEADER' });
      const outcomes = await Promise.all([send(producer, 'a'), send(producer, 'b', 1)]);
      expect(outcomes.map(({ error }) => error?.code)).to.deep.equal(['NO_LEADER', 'NO_LEADER']);
    });

    it('UNREACHABLE when no node could be reached', async () => {
      await start();
      const producer = client.producer(short);
      await send(producer, 'first');
      group.nodes[0]!.kill();
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect((await send(producer, 'never sent')).error?.code).to.equal('UNREACHABLE');
      expect(group.bodies('t', 0)).to.deep.equal(['first']);
    });

    it('begins with a fresh id behind what was given up, so that nothing can be in the log twice', async () => {
      await start();
      const producer = client.producer({ sendTimeoutMs: 1_000 });
      const [node] = group.nodes;
      await send(producer, 'first');
      group.decide = () => {
        node!.kill();
        return { kind: 'drop', applied: true };
      };
      expect((await send(producer, 'given up')).error?.code).to.equal('OUTCOME_UNKNOWN');
      group.decide = () => apply;
      await node!.start();
      expect((await send(producer, 'next')).error).to.equal(undefined);
      const { producerId, sequence } = node!.seen.at(-1)!;
      expect(producerId).not.to.equal(node!.seen[0]!.producerId);
      expect(sequence).to.equal(1);
      expect(group.bodies('t', 0)).to.deep.equal(['first', 'given up', 'next']);
    });
  });

  describe('whatever is said to a second try, until the deadline,', () => {
    const anyOf = Object.keys(errorTable) as ErrorCode[];
    /** What is said of the bytes alone holds for every try: the first one cannot have been taken either. */
    const ofContent = ['INVALID_ARGUMENT', 'ILLEGAL_TOPIC', 'ILLEGAL_TAG', 'ILLEGAL_KEY', 'ILLEGAL_PROPERTY'];
    const ofSize = ['BODY_EMPTY', 'BODY_TOO_LARGE', 'PROPERTIES_TOO_LARGE', 'BATCH_TOO_LARGE'];
    const definite: readonly string[] = [...ofContent, ...ofSize];

    it('a message whose first try may be in the log is never said to have failed', async () => {
      await start(2);
      const seen = new Set<string>();
      // Each body names what is said to it from its second try on.
      group.decide = ({ records }) => {
        const body = bodyOf(records);
        if (!seen.has(body)) {
          seen.add(body);
          return { kind: 'drop', applied: true };
        }
        const [code, kind] = body.split(' ') as [ErrorCode, 'refuse' | 'refuse-late'];
        return { kind, code };
      };
      const bodies = anyOf
        .filter((one) => !definite.includes(one))
        .flatMap((code) => [`${code} refuse`, `${code} refuse-late`]);
      const outcomes = await Promise.all(
        bodies.map(async (body) => [body, (await send(client.producer({ sendTimeoutMs: 3_000 }), body)).error?.code]),
      );
      expect(outcomes).to.deep.equal(bodies.map((body) => [body, 'OUTCOME_UNKNOWN']));
      expect(group.bodies('t', 0).sort()).to.deep.equal([...bodies].sort());
    });

    it('nor when the second try finds nobody, or gets no answer', async () => {
      const last: readonly Verdict[] = [{ kind: 'drop', applied: false }, { kind: 'silence' }];
      await start(2);
      let tries = 0;
      let later: Verdict = apply;
      group.decide = () => (++tries === 1 ? { kind: 'drop', applied: true } : later);
      for (later of last) {
        tries = 0;
        expect((await send(client.producer({ sendTimeoutMs: 1_500 }), later.kind)).error?.code).to.equal(
          'OUTCOME_UNKNOWN',
        );
        expect(tries).to.be.greaterThan(1);
      }
      expect(group.bodies('t', 0)).to.deep.equal(last.map(({ kind }) => kind));
    });
  });

  it('begins a new stream for a new id, behind frames that are still unanswered', async () => {
    await start();
    group.decide = () => ({ kind: 'apply', delayMs: 120 });
    const producer = client.producer({ sendTimeoutMs: 300, windowFramesMax: 2, frameCountMax: 1 });
    // Two are under way at a time: the last ones run into their deadline unsent, those sent just before them do not.
    const early = ['a', 'b', 'c', 'd', 'e'].map((body) => send(producer, body));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const late = send(producer, 'late');
    const outcomes = await Promise.all([...early, late]);
    const codes = outcomes.map(({ error }) => error?.code);
    expect(codes).to.include('DEADLINE_EXCEEDED');
    expect(codes).not.to.include('INVALID_ARGUMENT');
    const lost = outcomes.filter(({ error }) => error?.code === 'DEADLINE_EXCEEDED').map(({ body }) => body);
    for (const body of lost) expect(group.bodies('t', 0)).not.to.include(body);
  });

  it('waits in close for what is under way, and takes nothing after it', async () => {
    await start();
    group.decide = () => ({ kind: 'apply', delayMs: 20 });
    const producer = client.producer();
    const sent = send(producer, 'a');
    await producer.close();
    expect((await sent).queueOffset).to.equal(0);
    expect((await send(producer, 'b')).error?.code).to.equal('SHUTTING_DOWN');
  });

  it('ends at once when aborted: unknown what was sent, shutting down what was not', async () => {
    await start();
    group.decide = () => ({ kind: 'silence' });
    const producer = client.producer({ windowFramesMax: 1, frameCountMax: 1 });
    const waiting = ['sent', 'not sent'].map((body) => send(producer, body));
    await until(() => group.nodes[0]!.seen.length === 1, 'the first is sent');
    const unrouted = producer.send({ topic: 'u', body: Buffer.from('x') }).catch((error: TLedgerError) => error.code);
    const reading = client.consume({ topic: 't' }).next();
    const asking = client.pull({ topic: 't', queue: 0, offset: 0, waitMs: 1_000 }).catch(() => {});
    const time = new WorkingTime();
    client.abort();
    const codes = (await Promise.all(waiting)).map(({ error }) => error?.code);
    expect(codes).to.deep.equal(['OUTCOME_UNKNOWN', 'SHUTTING_DOWN']);
    expect(await unrouted).to.equal('SHUTTING_DOWN');
    expect(await reading.catch((error: TLedgerError) => error.code)).to.equal('SHUTTING_DOWN');
    await asking;
    await Promise.all([producer.flush(), producer.ready(), client.close()]);
    expect((await send(producer, 'late')).error?.code).to.equal('SHUTTING_DOWN');
    expect(time.end()).to.be.below(500);
  });

  it('is forgotten by its client once it is closed', async () => {
    await start();
    const producers = Array.from({ length: 5 }, () => client.producer());
    expect(client.openProducers).to.equal(5);
    await Promise.all(producers.map((producer) => producer.close()));
    expect(client.openProducers).to.equal(0);
  });

  for (const seed of [1, 2, 3, 4]) {
    it(`is exactly-once and in order through random failures (seed ${seed})`, async () => {
      await start(3);
      const random = new SeededRandom(seed);
      const codes = ['NOT_LEADER', 'NO_LEADER', 'OVERLOADED', 'OUTCOME_UNKNOWN', 'INTERNAL', 'SHUTTING_DOWN'] as const;
      const endings: readonly (() => Verdict)[] = [
        () => ({ kind: 'refuse', code: codes[random.between(0, codes.length - 1)]! }),
        () => ({ kind: 'refuse-late', code: 'NO_LEADER' }),
        () => ({ kind: 'drop', applied: true }),
        () => ({ kind: 'drop', applied: false }),
      ];
      group.decide = () => {
        if (random.next() < 0.1) group.lead(random.between(0, 2));
        if (random.next() < 0.2) return endings[random.between(0, endings.length - 1)]!();
        return random.next() < 0.2 ? { kind: 'apply', delayMs: 1 } : apply;
      };
      const producer = client.producer({ frameCountMax: 4, windowFramesMax: 8, sendTimeoutMs: 30_000 });
      const outcomes: Promise<Outcome>[] = [];
      for (let at = 0; at < 400; at++) {
        outcomes.push(send(producer, `m${at}`, at % 2));
        if (at % 40 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      const done = await Promise.all(outcomes);
      expect(done.filter(({ error }) => error !== undefined).map(({ error }) => error?.code)).to.deep.equal([]);
      for (const queue of [0, 1]) {
        const expected = done.map(({ body }) => body).filter((_, at) => at % 2 === queue);
        expect(group.bodies('t', queue), `queue ${queue}`).to.deep.equal(expected);
      }
    });
  }
});
