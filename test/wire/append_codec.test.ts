// The hand-written codec of AppendRequest is protobuf: whatever it writes protobufjs reads, and the other way round.
import { expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import { decodeAppendRequest, encodeAppendRequest, gatherAppendRequest } from '../../src/wire/append_codec.ts';
import { codecOf } from '../../src/wire/proto.ts';
import { outcome } from './outcome.ts';

interface Generic {
  readonly topic: string;
  readonly queue: number;
  readonly producerId: string;
  readonly sequence: string;
  readonly messages: readonly unknown[];
  readonly records: Buffer;
  readonly flush?: string;
}
const generic = codecOf<Generic>('AppendRequest');

const packed = fc.record({
  topic: fc.oneof(fc.constant(''), fc.string({ unit: 'grapheme', maxLength: 200 })),
  queue: fc.oneof(fc.constantFrom(0, 1, 127, 128, 0x7fff_ffff, -1, -0x8000_0000), fc.nat(1000)),
  producerId: fc.constantFrom('', '0123456789abcdef', 'not hex at all'),
  sequence: fc.oneof(fc.constantFrom(0, 1, 127, 128, 2 ** 32, 2 ** 53 - 1), fc.maxSafeNat()),
  records: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  flush: fc.constantFrom('', 'sync', 'async', 'neither'),
});

const message = fc.record({
  body: fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  tag: fc.string({ maxLength: 5 }),
  keys: fc.array(fc.string({ maxLength: 5 }), { maxLength: 3 }),
  properties: fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), fc.string({ maxLength: 5 }), { maxKeys: 3 }),
  bornTimestamp: fc.nat().map(String),
});

describe('wire: AppendRequest codec', () => {
  it('writes what protobufjs reads', () => {
    fc.assert(
      fc.property(packed, (request) => {
        const seen = generic.decode(encodeAppendRequest(request));
        expect(seen).to.deep.equal({ ...request, sequence: String(request.sequence), messages: [] });
      }),
    );
  });

  it('reads what protobufjs writes', () => {
    fc.assert(
      fc.property(packed, fc.array(message, { maxLength: 3 }), (request, messages) => {
        const bytes = generic.encode({ ...request, sequence: String(request.sequence), messages });
        const seen = decodeAppendRequest(bytes);
        expect({ ...seen, messages: generic.decode(bytes).messages }).to.deep.equal({
          ...request,
          messages: seen.messages,
        });
        expect(seen.messages.map((one) => one.body)).to.deep.equal(messages.map((one) => one.body));
        expect(seen.messages.map((one) => one.keys)).to.deep.equal(messages.map((one) => one.keys));
      }),
    );
  });

  it('joins records given in pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 8 }), (pieces) => {
        const records = pieces.map((piece) => Buffer.from(piece));
        const request = { topic: 't', queue: 0, producerId: '', sequence: 0, records };
        expect(decodeAppendRequest(encodeAppendRequest(request)).records).to.deep.equal(Buffer.concat(records));
      }),
    );
  });

  it('gathers the same bytes in one copy, behind a frame header', () => {
    fc.assert(
      fc.property(packed, fc.array(message, { maxLength: 2 }), fc.nat(300), (request, messages, cut) => {
        const records = [request.records.subarray(0, cut), request.records.subarray(cut)];
        const whole = messages.length === 0 ? { ...request, records } : { ...request, messages, records: [] };
        const gathered = gatherAppendRequest(whole);
        const frame = Buffer.alloc(5 + gathered.length);
        expect(gathered.copy(frame, 5)).to.equal(gathered.length);
        expect(frame.subarray(5)).to.deep.equal(encodeAppendRequest(whole));
      }),
    );
  });

  it('agrees with protobufjs on arbitrary and damaged bytes: the same request or a refusal', () => {
    const damaged = fc
      .tuple(packed, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 3 }), fc.nat(400))
      .map(([request, flips, cut]) => {
        const bytes = Buffer.from(encodeAppendRequest(request));
        for (const [at, value] of flips) if (at < bytes.length) bytes[at] = value;
        return bytes.subarray(0, Math.max(0, bytes.length - (cut > 200 ? 0 : cut)));
      });
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array)),
      damaged,
    );
    fc.assert(
      fc.property(bytes, (input) => {
        expect(outcome(() => decodeAppendRequest(input))).to.deep.equal(outcome(() => genericDecode(input)));
      }),
      { numRuns: 3000 },
    );
  });

  it('keeps fields it does not know from getting in the way', () => {
    const known = encodeAppendRequest({
      topic: 't',
      queue: 3,
      producerId: '',
      sequence: 9,
      records: Buffer.from('abc'),
    });
    const unknownField = Buffer.from([0x7a, 2, 1, 2]);
    const seen = decodeAppendRequest(Buffer.concat([unknownField, known]));
    expect(seen).to.deep.include({ topic: 't', queue: 3, sequence: 9, records: Buffer.from('abc') });
  });

  it('reads a queue of 32 bits with its sign, as protobuf does', () => {
    const bytes = Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    expect(decodeAppendRequest(bytes).queue).to.equal(generic.decode(bytes).queue).and.to.equal(-1);
  });

  it('reads a queue and a length of more bytes than they may take as protobufjs does', () => {
    for (const tag of [0x10, 0x32]) {
      for (const number of [
        [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
        [0x80, 0x80, 0x80, 0x80, 0x10],
      ]) {
        const bytes = Buffer.from([tag, ...number]);
        expect(outcome(() => decodeAppendRequest(bytes))).to.deep.equal(outcome(() => genericDecode(bytes)));
      }
    }
  });

  it('refuses a sequence beyond 2^53 - 1 by name', () => {
    for (const sequence of ['9007199254740992', '18446744073709551615']) {
      const bytes = generic.encode({
        topic: 't',
        queue: 0,
        producerId: '',
        sequence,
        messages: [],
        records: Buffer.alloc(0),
      });
      expect(() => decodeAppendRequest(bytes))
        .to.throw(TLedgerError, `sequence: ${sequence}`)
        .with.property('code', 'INVALID_ARGUMENT');
    }
  });

  it('hands out records as a view, without a copy', () => {
    const bytes = encodeAppendRequest({
      topic: 't',
      queue: 0,
      producerId: '',
      sequence: 1,
      records: Buffer.from('abc'),
    });
    expect(decodeAppendRequest(bytes).records.buffer).to.equal(bytes.buffer);
  });
});

function genericDecode(bytes: Buffer) {
  const request = generic.decode(bytes);
  const sequence = Number(request.sequence);
  if (!Number.isSafeInteger(sequence)) throw new Error('sequence');
  return { ...request, sequence };
}
