// Append and AppendStream: what reaches the gateway, and in which order what comes back.
import { status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { term } from '../../src/raft/types.ts';
import type { AppendDone } from '../../src/replica/types.ts';
import { INFLIGHT_BYTES_MAX, INFLIGHT_COUNT_MAX } from '../../src/rpc/append_stream.ts';
import type { AppendStreamResponse } from '../../src/wire/ledger_messages.ts';
import { acknowledgedCount } from '../../src/wire/status.ts';
import {
  appendOf,
  ask,
  failureOf,
  type Harness,
  ledgerService,
  message,
  openAppendStream,
  refusal,
  startHarness,
  until,
} from './harness.ts';

const PRODUCER = '00000000000000ab';
const recordOf = (body: string | Buffer, queueId = 0) =>
  encodeMessageRecord({ topic: 'orders', queueId, body: Buffer.from(body), bornAtMs: 1 });

describe('Append', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness();
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  it('answers with the offset, the leader and what a majority guarantees', async () => {
    await ask(harness.client, ledgerService.append, appendOf('first'));
    const answer = await ask(
      harness.client,
      ledgerService.append,
      appendOf('', { messages: [message('a'), message('b')] }),
    );
    expect(answer).to.deep.include({ queueOffset: '1', count: 2, lastIndex: '3', repeated: false, flush: 'sync' });
    expect(answer.leader).to.deep.equal({ nodeId: 'n1', clientAddress: '127.0.0.1:8082', term: '3' });
  });

  it('tells of a guarantee what the leader says, or nothing', async () => {
    for (const guarantee of ['sync', 'async', null] as const) {
      harness.gateway.guarantee = guarantee;
      const answer = await ask(harness.client, ledgerService.append, appendOf('x'));
      expect(answer.flush).to.equal(guarantee ?? '');
    }
  });

  it('passes records through untouched', async () => {
    const records = Buffer.concat([recordOf('a'), recordOf('b')]);
    await ask(harness.client, ledgerService.append, appendOf('', { messages: [], records }));
    expect(harness.gateway.appended[0]!.records.equals(records)).to.equal(true);
  });

  it('hands on the producer and the sequence', async () => {
    await ask(harness.client, ledgerService.append, appendOf('a', { producerId: PRODUCER, sequence: 2 ** 40 }));
    expect(harness.gateway.appended[0]).to.include({ producerId: PRODUCER, sequence: 2 ** 40 });
  });

  it('says in gRPC and in our own terms what the group refused', async () => {
    harness.gateway.hold = (_, done) => done(new TLedgerError('NO_LEADER', 'nobody leads'), null);
    const answer = await refusal(ask(harness.client, ledgerService.append, appendOf('a')));
    expect(answer).to.deep.equal({ status: status.UNAVAILABLE, code: 'NO_LEADER', text: 'nobody leads' });
  });

  it('keeps what was unexpected inside, and reports it', async () => {
    harness.gateway.hold = (_, done) => done(new TypeError('secret detail'), null);
    const answer = await refusal(ask(harness.client, ledgerService.append, appendOf('a')));
    expect(answer).to.include({ status: status.INTERNAL, code: 'INTERNAL' });
    expect(answer.text).to.not.contain('secret');
    expect(harness.complaints).to.have.length(1);
  });

  it('ends at the deadline of the call', async () => {
    harness.gateway.hold = () => {};
    const answer = await refusal(
      ask(harness.client, ledgerService.append, appendOf('a'), { deadline: Date.now() + 50 }),
    );
    expect(answer.status).to.equal(status.DEADLINE_EXCEEDED);
  });
});

describe('AppendStream', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness();
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  /** A stream with what came back on it. */
  function open() {
    const stream = openAppendStream(harness.client);
    const responses: AppendStreamResponse[] = [];
    let failure: unknown;
    let ended = false;
    stream.on('data', (response) => responses.push(response));
    stream.on('error', (error) => {
      failure = error;
    });
    stream.on('end', () => {
      ended = true;
    });
    const offsets = () => responses.flatMap(({ acknowledged }) => acknowledged.map((one) => one.queueOffset));
    return { stream, responses, offsets, failure: () => failure, ended: () => ended };
  }

  /** Numbered batches of one producer. */
  const batch = (sequence: number, more: object = {}) =>
    appendOf(`m${sequence}`, { producerId: PRODUCER, sequence, ...more });

  /** Lets the test decide when and in which order batches are done. */
  function holdAll() {
    const held: { done: AppendDone; commit: () => void }[] = [];
    harness.gateway.hold = (_, done, commit) => held.push({ done, commit });
    return held;
  }

  it('acknowledges in the order of the requests, many in one response', async () => {
    const held = holdAll();
    const { stream, responses, offsets } = open();
    for (let sequence = 1; sequence <= 100; sequence++) stream.write(batch(sequence));
    await until(() => held.length === 100, 'all have arrived');
    for (const { commit } of held) commit();
    await until(() => offsets().length === 100, 'all are acknowledged');
    expect(offsets()).to.deep.equal(Array.from({ length: 100 }, (_, at) => at));
    expect(responses.at(-1)!.acknowledged[0]).to.deep.include({ count: 1, repeated: false, flush: 'sync' });
    // The first one tells who leads.
    expect(responses.map(({ acknowledged }) => acknowledged.length)).to.deep.equal([0, 100]);
    stream.end();
  });

  it('tells of a guarantee what the leader says, or nothing', async () => {
    const { stream, responses } = open();
    for (const guarantee of ['sync', 'async', null] as const) {
      harness.gateway.guarantee = guarantee;
      responses.length = 0;
      stream.write(batch(1));
      await until(() => responses.some(({ acknowledged }) => acknowledged.length > 0), 'it is acknowledged');
      expect(responses.at(-1)!.acknowledged[0]!.flush).to.equal(guarantee ?? undefined);
    }
    stream.end();
  });

  it('holds back an acknowledgement until those before it are known', async () => {
    const held = holdAll();
    const { stream, offsets } = open();
    for (let sequence = 1; sequence <= 3; sequence++) stream.write(batch(sequence));
    await until(() => held.length === 3, 'all have arrived');
    held[2]!.commit();
    held[1]!.commit();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(offsets()).to.deep.equal([]);
    held[0]!.commit();
    await until(() => offsets().length === 3, 'all are acknowledged');
    // The fake group stored them in the order in which it was let, so the offsets show who is who.
    expect(offsets()).to.deep.equal([2, 1, 0]);
    stream.end();
  });

  it('ends at the first failure, after the acknowledgements before it', async () => {
    const held = holdAll();
    const { stream, offsets, failure } = open();
    for (let sequence = 1; sequence <= 3; sequence++) stream.write(batch(sequence));
    await until(() => held.length === 3, 'all have arrived');
    held[2]!.commit();
    held[1]!.done(new TLedgerError('OUT_OF_ORDER_SEQUENCE', 'a gap'), null);
    held[0]!.commit();
    await until(() => failure() !== undefined, 'the stream fails');
    expect(failureOf(failure())).to.deep.equal({
      status: status.FAILED_PRECONDITION,
      code: 'OUT_OF_ORDER_SEQUENCE',
      text: 'a gap',
    });
    expect(offsets()).to.have.length(1);
    expect(acknowledgedCount(failure()), 'so that a client knows which request failed').to.equal(1);
  });

  it('takes nothing after a request it refused itself', async () => {
    const { stream, offsets, failure } = open();
    stream.write(batch(1));
    stream.write(batch(2, { messages: [message('')] }));
    stream.write(batch(3));
    await until(() => failure() !== undefined, 'the stream fails');
    expect(failureOf(failure()).code).to.equal('BODY_EMPTY');
    expect(offsets()).to.deep.equal([0]);
    expect(harness.gateway.appended.map((one) => one.sequence)).to.deep.equal([1]);
  });

  it('gives a producer without identity a window of one, so that nothing can follow a failure', async () => {
    const held = holdAll();
    const { stream, failure } = open();
    for (const body of ['a', 'b', 'c']) stream.write(appendOf(body));
    await until(() => held.length === 1, 'the first has arrived');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(harness.gateway.appended).to.have.length(1);
    held[0]!.done(new TLedgerError('OVERLOADED'), null);
    await until(() => failure() !== undefined, 'the stream fails');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(harness.gateway.appended).to.have.length(1);
  });

  it('belongs to one producer', async () => {
    const { stream, failure } = open();
    stream.write(batch(1));
    stream.write(batch(2, { producerId: '00000000000000ff' }));
    await until(() => failure() !== undefined, 'the stream fails');
    expect(failureOf(failure())).to.include({ code: 'INVALID_ARGUMENT' });
    expect(harness.gateway.appended).to.have.length(1);
  });

  it('stops reading at its window, by count, and reads on when there is room', async () => {
    const held = holdAll();
    const { stream, offsets } = open();
    const total = INFLIGHT_COUNT_MAX + 50;
    for (let sequence = 1; sequence <= total; sequence++) stream.write(batch(sequence));
    await until(() => held.length >= INFLIGHT_COUNT_MAX, 'the window is full');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(held.length).to.equal(INFLIGHT_COUNT_MAX);
    for (const one of held.splice(0)) one.commit();
    await until(() => held.length === 50, 'the rest has arrived');
    for (const one of held.splice(0)) one.commit();
    await until(() => offsets().length === total, 'all are acknowledged');
    stream.end();
  });

  it('stops reading at its window, by bytes', async () => {
    const held = holdAll();
    const { stream } = open();
    const body = Buffer.alloc(4 * 1024 * 1024);
    for (let sequence = 1; sequence <= 8; sequence++) stream.write(batch(sequence, { messages: [message(body)] }));
    await until(() => held.length >= 4, 'the window is full');
    await new Promise((resolve) => setTimeout(resolve, 100));
    const bytes = harness.gateway.appended.reduce((sum, one) => sum + one.records.length, 0);
    expect(bytes).to.be.within(INFLIGHT_BYTES_MAX, INFLIGHT_BYTES_MAX + 5 * 1024 * 1024);
    stream.cancel();
  });

  it('answers everything under way after the client has said all, then ends', async () => {
    const held = holdAll();
    const { stream, offsets, ended } = open();
    for (let sequence = 1; sequence <= 3; sequence++) stream.write(batch(sequence));
    stream.end();
    await until(() => held.length === 3, 'all have arrived');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(ended()).to.equal(false);
    for (const one of held) one.commit();
    await until(ended, 'the stream ends');
    expect(offsets()).to.have.length(3);
  });

  it('tells who leads at once, and again when that changes', async () => {
    const { stream, responses } = open();
    const leaders = () =>
      responses.flatMap(({ leader }) => (leader === null ? [] : [`${leader.nodeId} ${leader.term}`]));
    await until(() => leaders().length === 1, 'the leader is told');
    const [address, other] = ['127.0.0.1:8082', '127.0.0.1:8083'];
    harness.gateway.setLeader(null);
    harness.gateway.setLeader({ nodeId: 'n2', clientAddress: other, term: term(4) });
    harness.gateway.changed();
    await until(() => leaders().length === 2, 'the new leader is told');
    harness.gateway.changed();
    await new Promise((resolve) => setTimeout(resolve, 30));
    harness.gateway.setLeader({ nodeId: 'n2', clientAddress: other, term: term(5) });
    await until(() => leaders().length === 3, 'the same leader is told in another term');
    harness.gateway.setLeader({ nodeId: 'n1', clientAddress: address, term: term(5) });
    await until(() => leaders().length === 4, 'another leader is told, whatever its term');
    expect(leaders()).to.deep.equal(['n1 3', 'n2 4', 'n2 5', 'n1 5']);
    stream.end();
  });

  it('forgets a cancelled stream altogether', async () => {
    const held = holdAll();
    const before = harness.gateway.listeners.size;
    const { stream } = open();
    stream.write(batch(1));
    await until(() => held.length === 1, 'it has arrived');
    expect(harness.gateway.listeners.size).to.equal(before + 1);
    stream.cancel();
    await until(() => harness.gateway.listeners.size === before, 'it is forgotten');
    held[0]!.commit();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(harness.complaints).to.deep.equal([]);
  });

  it('finishes what is under way when the server stops, and then says why it ends', async () => {
    const held = holdAll();
    const { stream, offsets, failure } = open();
    stream.write(batch(1));
    await until(() => held.length === 1, 'it has arrived');
    const stopped = harness.stopServer(2000);
    await new Promise((resolve) => setTimeout(resolve, 30));
    held[0]!.commit();
    await stopped;
    await until(() => failure() !== undefined, 'the stream ends');
    expect(offsets()).to.deep.equal([0]);
    expect(failureOf(failure()).code).to.equal('SHUTTING_DOWN');
    expect(acknowledgedCount(failure())).to.equal(1);
  });
});
