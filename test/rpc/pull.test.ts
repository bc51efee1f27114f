// Pull: presence is shown at once, absence only after catching up, waiting is bounded and leaves nothing behind.
import { status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { decodeMessageRecord, encodeMessageRecord } from '../../src/format/message.ts';
import { sizeAt } from '../../src/format/record.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import {
  appendOf,
  ask,
  type Harness,
  ledgerService,
  message,
  pullOf,
  refusal,
  startHarness,
  until,
} from './harness.ts';

describe('Pull', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness({ waitingPullsMax: 2 });
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  const append = (body: string, more: object = {}) => ask(harness.client, ledgerService.append, appendOf(body, more));
  const pull = (more: object = {}) => ask(harness.client, ledgerService.pull, pullOf(more));
  const listeners = () => harness.gateway.fake.listenerCount;

  it('gives messages back as they were sent', async () => {
    const properties = { colour: 'blau', size: '4' };
    const sent = message('body', { tag: 'paid', keys: ['k1', 'k2'], properties, bornTimestamp: '77' });
    await append('', { messages: [sent] });
    const answer = await pull();
    expect(answer).to.deep.include({ count: 1, nextOffset: '1', minOffset: '0', maxOffset: '1' });
    const { body, storeTimestamp, ...rest } = answer.messages[0]!;
    expect(String(body)).to.equal('body');
    expect(rest).to.deep.equal({
      queueOffset: '0',
      tag: 'paid',
      keys: ['k1', 'k2'],
      properties,
      bornTimestamp: '77',
      queue: 0,
    });
    expect(Number(storeTimestamp)).to.be.a('number');
  });

  it('gives whole records when asked for them packed', async () => {
    await append('a');
    await append('b');
    const { records, messages, count } = await pull({ packed: true });
    expect(messages).to.deep.equal([]);
    expect(count).to.equal(2);
    const first = sizeAt(records, 0);
    expect(String(decodeMessageRecord(records, first, records.length)!.body)).to.equal('b');
  });

  it('holds to the count and bytes asked for, but always gives one', async () => {
    for (const body of ['a', 'b', 'c']) await append(body);
    expect((await pull({ maxCount: 2 })).count).to.equal(2);
    expect((await pull({ maxBytes: 1 })).count).to.equal(1);
  });

  it('shows what it has without asking anybody', async () => {
    await append('a');
    harness.gateway.setLeader(null);
    expect((await pull()).count).to.equal(1);
    expect(harness.gateway.barriers).to.equal(0);
  });

  it('believes in an empty queue only after catching up', async () => {
    harness.gateway.onBarrier = () =>
      harness.gateway.append(
        { topic: 'orders', queueId: 0, producerId: '', sequence: 0, records: recordOf() },
        0,
        () => {},
      ); // prettier-ignore
    harness.gateway.hold = (_request, _done, commit) => commit();
    expect((await pull()).count).to.equal(1);
    harness.gateway.onBarrier = () => {};
    expect((await pull({ offset: '1' })).count).to.equal(0);
  });

  it('cannot confirm an empty queue, a missing topic or an offset beyond the end without a leader', async () => {
    harness.gateway.setLeader(null);
    for (const more of [{}, { topic: 'nobody' }, { offset: '9' }]) {
      expect(await refusal(pull(more))).to.include({ status: status.UNAVAILABLE, code: 'NO_LEADER' });
    }
  });

  it('finds a topic that only just arrived', async () => {
    harness.gateway.onBarrier = () => {
      if (harness.gateway.fake.topic('fresh') === undefined) harness.gateway.fake.addTopic('fresh', 1);
    };
    expect((await pull({ topic: 'fresh' })).count).to.equal(0);
  });

  it('waits for the first message, and answers as soon as it is there', async () => {
    const time = new WorkingTime();
    const answer = pull({ waitMs: 20_000 });
    await until(() => listeners() === 1, 'it waits');
    await append('other queue', { queue: 1 });
    await append('a');
    expect((await answer).count).to.equal(1);
    expect(time.end()).to.be.below(2_000);
    expect(listeners()).to.equal(0);
    expect(harness.gateway.barriers).to.equal(0);
  });

  it('answers empty when nothing came in time', async () => {
    const answer = await pull({ waitMs: 40 });
    expect(answer).to.deep.include({ count: 0, nextOffset: '0', maxOffset: '0' });
    expect(listeners()).to.equal(0);
  });

  it('answers before the deadline of its caller, even if the wait is longer', async () => {
    const options = { deadline: Date.now() + 1_500 };
    const answer = await ask(harness.client, ledgerService.pull, pullOf({ waitMs: 60_000 }), options);
    expect(answer.count).to.equal(0);
  });

  it('refuses more waiting pulls than it may hold', async () => {
    const waiting = [pull({ waitMs: 20_000 }), pull({ waitMs: 20_000, queue: 1 })];
    await until(() => listeners() === 2, 'two wait');
    const answer = await refusal(pull({ waitMs: 20_000 }));
    expect(answer).to.include({ status: status.RESOURCE_EXHAUSTED, code: 'OVERLOADED' });
    await append('a');
    await append('b', { queue: 1 });
    expect((await Promise.all(waiting)).map((one) => one.count)).to.deep.equal([1, 1]);
    // There is room again.
    expect((await pull({ waitMs: 20, queue: 2 })).count).to.equal(0);
  });

  it('forgets a waiting pull whose caller has gone', async () => {
    const { path, requestSerialize, responseDeserialize } = ledgerService.pull;
    const request = pullOf({ waitMs: 60_000 });
    const call = harness.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, () => {});
    await until(() => listeners() === 1, 'it waits');
    call.cancel();
    await until(() => listeners() === 0, 'it is forgotten');
  });

  it('answers waiting pulls when the server stops', async () => {
    const answer = pull({ waitMs: 60_000 });
    await until(() => listeners() === 1, 'it waits');
    await harness.stopServer();
    expect((await answer).count).to.equal(0);
  });
});

function recordOf(): Buffer {
  return encodeMessageRecord({ topic: 'orders', queueId: 0, body: Buffer.from('late'), bornAtMs: 1 });
}
