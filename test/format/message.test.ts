import { expect } from 'chai';
import fc from 'fast-check';
import { crc32 } from '../../src/base/crc.ts';
import {
  decodeMessageRecord,
  decodeProperties,
  encodeMessageRecord,
  hasProducerStamp,
  isMessageBodyIntact,
  locateParts,
  NO_PRODUCER,
  newParts,
  type OutgoingMessage,
  producerIdAt,
  producerIdOf,
  sequenceOf,
  tagHash,
  writeProducerStamp,
} from '../../src/format/message.ts';
import { isRecordWhole, physicalOffset, RECORD_HEADER_BYTES, sealRecord } from '../../src/format/record.ts';
import { writeUint64 } from '../../src/format/uint64.ts';
import { logIndex, term } from '../../src/raft/types.ts';

const BORN_MS = 1_700_000_000_123;

function outgoing(some: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return { topic: 'orders', queueId: 3, body: Buffer.from('hello'), bornAtMs: BORN_MS, ...some };
}

function partsOf(record: Buffer) {
  const parts = newParts();
  expect(locateParts(record, RECORD_HEADER_BYTES, record.length, parts)).to.equal(true);
  return parts;
}

describe("a message in RocketMQ's layout (ROCKETMQ_GRPC.md 10.2)", () => {
  it('has each field where the page says', () => {
    const record = encodeMessageRecord(outgoing({ tag: 'TagA', keys: ['k1', 'k2'], properties: { color: 'blue' } }));
    writeUint64(record, 41, RECORD_HEADER_BYTES + 20);
    writeUint64(record, BORN_MS + 5, RECORD_HEADER_BYTES + 56);
    sealRecord(record, 0, { index: logIndex(1), term: term(1), position: physicalOffset(1_000), prevChain: 0 });
    const message = record.subarray(RECORD_HEADER_BYTES);
    const properties = `TAGS\u0001TagA\u0002KEYS\u0001k1 k2\u0002color\u0001blue\u0002PSEQ\u0001${'0'.repeat(28)}\u0002`;
    expect(message.readUInt32BE(0), 'total size').to.equal(message.length);
    expect(message.readUInt32BE(4), 'magic V1').to.equal(0xdaa3_20a7);
    expect(message.readUInt32BE(8), 'body CRC').to.equal(crc32(Buffer.from('hello')) & 0x7fff_ffff);
    expect(message.readUInt32BE(12), 'queue id').to.equal(3);
    expect(message.readUInt32BE(16), 'flag').to.equal(0);
    expect(message.readBigUInt64BE(20), 'queue offset').to.equal(41n);
    expect(message.readBigUInt64BE(28), 'physical offset: where the body lies').to.equal(1_048n);
    expect(message.readUInt32BE(36), 'sys flag').to.equal(0);
    expect(message.readBigUInt64BE(40), 'born timestamp').to.equal(BigInt(BORN_MS));
    expect(message.readBigUInt64BE(56), 'store timestamp').to.equal(BigInt(BORN_MS + 5));
    expect(message.readUInt32BE(72), 'reconsume times').to.equal(0);
    expect(message.readBigUInt64BE(76), 'prepared transaction offset').to.equal(0n);
    expect(message.readUInt32BE(84), 'body length').to.equal(5);
    expect(message.toString('utf8', 88, 93), 'body').to.equal('hello');
    expect(message.readUInt8(93), 'topic length').to.equal(6);
    expect(message.toString('utf8', 94, 100), 'topic').to.equal('orders');
    expect(message.readUInt16BE(100), 'properties length').to.equal(properties.length);
    expect(message.toString('utf8', 102), 'properties').to.equal(properties);
    expect(message.length, '91 + variable').to.equal(91 + 5 + 6 + properties.length);
  });

  it('comes back as it was given, whatever it says', () => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: separators cannot be part of texts.
    const text = fc.string({ unit: 'binary', maxLength: 20 }).map((value) => value.replace(/[\u0001\u0002]/g, ''));
    const word = text.map((value) => value.replaceAll(' ', '') || 'w');
    const names = word.filter((name) => !['TAGS', 'KEYS', 'PSEQ'].includes(name));
    const messages = fc.record({
      topic: fc.stringMatching(/^[%|a-zA-Z0-9_-]{1,127}$/),
      queueId: fc.nat(1_023),
      body: fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      tag: fc.option(word, { nil: undefined }),
      keys: fc.option(fc.array(word, { minLength: 1, maxLength: 3 }), { nil: undefined }),
      properties: fc.option(fc.dictionary(names, text, { maxKeys: 5 }), { nil: undefined }),
      bornAtMs: fc.maxSafeNat(),
    });
    fc.assert(
      fc.property(messages, (given) => {
        const record = encodeMessageRecord(given);
        expect(isRecordWhole(record, 0, record.length)).to.equal(true);
        const got = decodeMessageRecord(record, 0, record.length)!;
        expect(got.topic).to.equal(given.topic);
        expect(got.queueId).to.equal(given.queueId);
        expect(got.body.equals(given.body)).to.equal(true);
        expect(got.tag).to.equal(given.tag);
        expect(got.keys).to.deep.equal(given.keys ?? []);
        expect(Object.fromEntries(got.properties)).to.deep.equal({ ...given.properties });
        expect(got.bornAtMs).to.equal(given.bornAtMs);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps properties whose names JavaScript objects treat specially', () => {
    const properties = Object.fromEntries([
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['toString', 'c'],
    ]);
    const record = encodeMessageRecord(outgoing({ properties, keys: ['__proto__'], tag: 'constructor' }));
    const got = decodeMessageRecord(record, 0, record.length)!;
    expect([...got.properties]).to.deep.equal([
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['toString', 'c'],
    ]);
    expect([got.tag, ...got.keys]).to.deep.equal(['constructor', '__proto__']);
    expect(({} as { a?: unknown }).a).to.equal(undefined);
  });

  it('reads messages whose hosts are IPv6', () => {
    const plain = encodeMessageRecord(outgoing({ tag: 'v6' })).subarray(RECORD_HEADER_BYTES);
    for (const flags of [0x10, 0x20, 0x30]) {
      const bornExtra = flags & 0x10 ? 12 : 0;
      const storeExtra = flags & 0x20 ? 12 : 0;
      const message = Buffer.concat([
        plain.subarray(0, 56),
        Buffer.alloc(bornExtra, 0xff),
        plain.subarray(56, 72),
        Buffer.alloc(storeExtra, 0xff),
        plain.subarray(72),
      ]);
      message.writeUInt32BE(message.length, 0);
      message.writeUInt32BE(flags, 36);
      writeUint64(message, 77, 56 + bornExtra);
      message.writeInt32BE(5, 72 + bornExtra + storeExtra);
      const record = Buffer.concat([Buffer.alloc(RECORD_HEADER_BYTES), message]);
      const got = decodeMessageRecord(record, 0, record.length)!;
      expect(got.body.toString(), `flags ${flags}`).to.equal('hello');
      expect([got.tag, got.topic, got.storedAtMs, got.reconsumeTimes]).to.deep.equal(['v6', 'orders', 77, 5]);
      expect(isMessageBodyIntact(record, RECORD_HEADER_BYTES, partsOf(record))).to.equal(true);
    }
  });

  it('never throws over damaged bytes: a message, or nothing', () => {
    const record = encodeMessageRecord(outgoing({ tag: 'TagA', properties: { a: 'b' } }));
    let refused = 0;
    for (let at = RECORD_HEADER_BYTES; at < record.length; at++) {
      for (const value of [0, 0x7f, 0x80, 0xff]) {
        const copy = Buffer.from(record);
        copy[at] = value;
        if (decodeMessageRecord(copy, 0, copy.length) === undefined) refused++;
        decodeProperties(copy, RECORD_HEADER_BYTES, copy.length);
      }
    }
    expect(refused).to.be.greaterThan(50);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, withSize) => {
        const buffer = Buffer.concat([Buffer.alloc(RECORD_HEADER_BYTES), Buffer.from(bytes)]);
        if (withSize && bytes.length >= 8) {
          buffer.writeUInt32BE(bytes.length, RECORD_HEADER_BYTES);
          buffer.writeUInt32BE(0xdaa3_20a7, RECORD_HEADER_BYTES + 4);
        }
        decodeMessageRecord(buffer, 0, buffer.length);
      }),
      { numRuns: 1_000 },
    );
  });

  it('is not found when cut at any byte', () => {
    const record = encodeMessageRecord(outgoing({ properties: { a: 'b' } }));
    for (let end = RECORD_HEADER_BYTES; end < record.length; end++) {
      const cut = Buffer.from(record.subarray(0, end));
      expect(decodeMessageRecord(cut, 0, end), `${end}`).to.equal(undefined);
      if (end < RECORD_HEADER_BYTES + 4) continue;
      // Also when the size field agrees with the cut.
      cut.writeUInt32BE(end - RECORD_HEADER_BYTES, RECORD_HEADER_BYTES);
      expect(decodeMessageRecord(cut, 0, end), `${end}`).to.equal(undefined);
    }
  });

  it('knows whether the body matches its CRC', () => {
    const record = encodeMessageRecord(outgoing());
    const parts = partsOf(record);
    expect(isMessageBodyIntact(record, RECORD_HEADER_BYTES, parts)).to.equal(true);
    record[parts.bodyStart]! ^= 1;
    expect(isMessageBodyIntact(record, RECORD_HEADER_BYTES, parts)).to.equal(false);
  });
});

describe('the producer stamp', () => {
  for (const sequence of [0, 1, 255, 2 ** 24 - 1, 2 ** 24, 2 ** 31, 2 ** 32, 0xa9f0_abcd_ef12, 2 ** 48 - 1]) {
    it(`holds the sequence ${sequence}`, () => {
      const record = encodeMessageRecord(outgoing({ properties: { a: 'b' } }));
      const parts = partsOf(record);
      writeProducerStamp(record, parts, '0123456789abcdef', sequence);
      expect(hasProducerStamp(record, parts)).to.equal(true);
      expect(producerIdOf(record, parts)).to.equal('0123456789abcdef');
      expect(sequenceOf(record, parts)).to.equal(sequence);
      const digits = record.toString('latin1', producerIdAt(parts), producerIdAt(parts) + 28);
      expect(digits).to.equal(`0123456789abcdef${sequence.toString(16).padStart(12, '0')}`);
      const got = decodeMessageRecord(record, 0, record.length)!;
      expect([...got.properties]).to.deep.equal([['a', 'b']]);
    });
  }

  it('is blank in a fresh record', () => {
    const record = encodeMessageRecord(outgoing());
    expect(producerIdOf(record, partsOf(record))).to.equal(NO_PRODUCER);
    expect(sequenceOf(record, partsOf(record))).to.equal(0);
  });

  it('is only found whole, as the last property, after a separator', () => {
    const stamp = `PSEQ\u0001${'0'.repeat(28)}\u0002`;
    const cases: [string, boolean][] = [
      [stamp, true],
      [`a\u0001b\u0002${stamp}`, true],
      [`a\u0001b${stamp}`, false],
      [stamp.slice(1), false],
      [stamp.slice(0, -1), false],
      [`${stamp.slice(0, -1)}x`, false],
      [`${stamp}a\u0001b\u0002`, false],
      [stamp.replace('PSEQ', 'XSEQ'), false],
      [stamp.replace('\u0001', '\u0003'), false],
      ['', false],
    ];
    for (const [text, expected] of cases) {
      const buffer = Buffer.from(`${'.'.repeat(50)}${text}`);
      const parts = { ...newParts(), propertiesStart: 50, propertiesEnd: buffer.length };
      expect(hasProducerStamp(buffer, parts), JSON.stringify(text)).to.equal(expected);
    }
  });
});

describe("the tag hash is Java's String.hashCode", () => {
  // Values of java.lang.String.hashCode.
  const known: [string, number][] = [
    ['', 0],
    ['a', 97],
    ['TagA', 2_598_919],
    ['TagB', 2_598_920],
    ['hello', 99_162_322],
    ['Hello World', -862_545_276],
    ['polygenelubricants', -2_147_483_648],
    ['é', 233],
    ['𝄞', 1_772_394],
  ];
  for (const [tag, hash] of known) {
    it(`of ${JSON.stringify(tag)}`, () => expect(tagHash(tag)).to.equal(hash));
  }
});
