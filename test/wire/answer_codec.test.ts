// The hand-written codecs of answers to appends are protobuf: whatever they write protobufjs reads, and the other way round.
import { expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import type { AppendResult } from '../../src/broker/types.ts';
import { logIndex } from '../../src/raft/types.ts';
import {
  decodeAppendResult,
  decodeAppendStreamResponse,
  encodeAppendResponse,
  encodeAppendResult,
  encodeAppendStreamResponse,
} from '../../src/wire/answer_codec.ts';
import type { AppendResponse, AppendStreamResponse, Leader } from '../../src/wire/ledger_messages.ts';
import { codecOf } from '../../src/wire/proto.ts';
import { outcome } from './outcome.ts';

const answers = codecOf<AppendResponse>('AppendResponse');
const number = fc.oneof(fc.constantFrom(0, 1, 127, 128, 2 ** 32, 2 ** 53 - 1), fc.maxSafeNat());
const text = fc.string({ unit: 'grapheme', maxLength: 60 });
const leader = fc.record({ nodeId: text, clientAddress: text, term: number.map(String) });
const answer = fc.record({
  queueOffset: fc
    .oneof({ weight: 9, arbitrary: number }, { weight: 1, arbitrary: fc.constantFrom(-1, -(2 ** 53 - 1)) })
    .map(String),
  count: fc.constantFrom(0, 1, 128, 4_096, 0x7fff_ffff),
  lastIndex: number.map(String),
  repeated: fc.boolean(),
  leader: fc.option(leader),
  flush: fc.constantFrom('', 'sync', 'async'),
});
/** What both codecs find: the answer without leader, or nothing. */
const resultOf = ({ queueOffset, count, lastIndex, repeated, flush }: AppendResponse): AppendResult => {
  const numbers = { queueOffset: Number(queueOffset), count, lastIndex: logIndex(Number(lastIndex)), repeated };
  if (!Number.isSafeInteger(numbers.queueOffset) || !Number.isSafeInteger(numbers.lastIndex)) throw new Error('range');
  return flush === 'sync' || flush === 'async' ? { ...numbers, flush } : numbers;
};
const genericResult = (bytes: Buffer) => resultOf(answers.decode(bytes));
/** A few bytes of `bytes` are others, or its end is missing. */
const damaged = (bytes: fc.Arbitrary<Buffer>) =>
  fc
    .tuple(bytes, fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 3 }), fc.nat(40))
    .map(([good, flips, cut]) => {
      for (const [at, value] of flips) if (at < good.length) good[at] = value;
      return good.subarray(0, Math.max(0, good.length - (cut > 20 ? 0 : cut)));
    });
const noise = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));

describe('wire: AppendResponse codec', () => {
  it('writes what protobufjs reads', () => {
    fc.assert(
      fc.property(answer, (response) => {
        expect(answers.decode(encodeAppendResponse(response))).to.deep.equal(response);
      }),
    );
  });

  it('reads what it and protobufjs write', () => {
    fc.assert(
      fc.property(answer, (response) => {
        const own = resultOf(response);
        expect(decodeAppendResult(answers.encode(response))).to.deep.equal(own);
        expect(decodeAppendResult(encodeAppendResult(own))).to.deep.equal(own);
      }),
    );
  });

  it('agrees with protobufjs on arbitrary and damaged bytes: the same answer or a refusal', () => {
    const bytes = fc.oneof(noise, damaged(answer.map(encodeAppendResponse)));
    fc.assert(
      fc.property(bytes, (input) => {
        expect(outcome(() => decodeAppendResult(input))).to.deep.equal(outcome(() => genericResult(input)));
      }),
      { numRuns: 3000 },
    );
  });

  it('refuses numbers that protobuf could not carry as they are', () => {
    const response = {
      queueOffset: '9007199254740992',
      count: 1,
      lastIndex: '1',
      repeated: false,
      leader: null,
      flush: '',
    };
    expect(() => encodeAppendResponse(response)).to.throw(TLedgerError, 'queueOffset');
  });
});

interface GenericStreamResponse {
  readonly acknowledged: readonly AppendResponse[];
  readonly leader: Leader | null;
}
const streamAnswers = codecOf<GenericStreamResponse>('AppendStreamResponse');
const streamAnswer = fc.record({
  acknowledged: fc.array(
    answer.map((response) => ({ ...response, leader: null })),
    { maxLength: 40 },
  ),
  leader: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: leader }),
});
const resultsOf = ({ acknowledged, leader: who }: GenericStreamResponse): AppendStreamResponse => ({
  acknowledged: acknowledged.map(resultOf),
  leader: who ?? acknowledged.at(-1)?.leader ?? null,
});

describe('wire: AppendStreamResponse codec', () => {
  it('writes what protobufjs reads', () => {
    fc.assert(
      fc.property(streamAnswer, (response) => {
        expect(streamAnswers.decode(encodeAppendStreamResponse(resultsOf(response)))).to.deep.equal(response);
      }),
    );
  });

  it('reads what it and protobufjs write', () => {
    fc.assert(
      fc.property(streamAnswer, (response) => {
        const own = resultsOf(response);
        expect(decodeAppendStreamResponse(streamAnswers.encode(response))).to.deep.equal(own);
        expect(decodeAppendStreamResponse(encodeAppendStreamResponse(own))).to.deep.equal(own);
      }),
    );
  });

  it('reads a count, a flag and a length of more bytes than they may take as protobufjs does', () => {
    for (const [tag, value] of [
      [0x10, 0],
      [0x20, 0x10],
      [0x20, 0],
      [0x32, 0],
    ] as const) {
      // The same number in seven bytes, and one beyond 32 bits in five.
      for (const number of [
        [0x80, 0x80, 0x80, 0x80, 0x80, value || 0x80, 0],
        [0x80, 0x80, 0x80, 0x80, 0x10],
      ]) {
        const one = Buffer.from([tag, ...number]);
        const many = Buffer.from([0x0a, one.length, ...one]);
        expect(outcome(() => decodeAppendResult(one))).to.deep.equal(outcome(() => genericResult(one)));
        const expected = outcome(() => resultsOf(streamAnswers.decode(many)));
        expect(outcome(() => decodeAppendStreamResponse(many))).to.deep.equal(expected);
      }
    }
  });

  it('reads the length of an answer, of more bytes than it may take, as protobufjs does', () => {
    const input = Buffer.from([0x0a, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0x10, 5]);
    const expected = outcome(() => resultsOf(streamAnswers.decode(input)));
    expect(outcome(() => decodeAppendStreamResponse(input))).to.deep.equal(expected);
  });

  it('refuses an answer that reads on behind its end', () => {
    for (const bytes of [
      [0x0a, 2, 0x08, 0x80, 0x01],
      [0x0a, 2, 0x08, 0x80, 0x01, 0x0a, 0],
      [0x0a, 1, 0x08, 0x0a, 0],
    ]) {
      const input = Buffer.from(bytes);
      expect(outcome(() => streamAnswers.decode(input))).to.equal('refused');
      expect(outcome(() => decodeAppendStreamResponse(input))).to.equal('refused');
    }
  });

  it('finds the leader where an answer names it', () => {
    const leader = { nodeId: 'n2', clientAddress: 'host:1', term: '7' };
    const one = { queueOffset: '5', count: 1, lastIndex: '9', repeated: false, leader, flush: 'sync' };
    const bytes = streamAnswers.encode({ acknowledged: [{ ...one, leader: null }, one], leader: null });
    expect(decodeAppendStreamResponse(bytes).leader).to.deep.equal(leader);
  });

  it('agrees with protobufjs on arbitrary and damaged bytes: the same answers or a refusal', () => {
    const bytes = fc.oneof(noise, damaged(streamAnswer.map(streamAnswers.encode)));
    fc.assert(
      fc.property(bytes, (input) => {
        const expected = outcome(() => resultsOf(streamAnswers.decode(input)));
        expect(outcome(() => decodeAppendStreamResponse(input))).to.deep.equal(expected);
      }),
      { numRuns: 3000 },
    );
  });
});
