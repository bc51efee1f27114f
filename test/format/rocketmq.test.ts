// Messages of RocketMQ and ours, each read by the other's reader.
import { expect } from 'chai';
import fc from 'fast-check';
import { messageLimits, validateMessage } from '../../src/format/limits.ts';
import {
  decodeMessageRecord,
  decodeProperties,
  encodeMessageRecord,
  type OutgoingMessage,
  tagHash,
} from '../../src/format/message.ts';
import { physicalOffset, RECORD_HEADER_BYTES, recordMagic, sealRecord } from '../../src/format/record.ts';
import { compressionOf, hostText, type RocketMqMessage, readRocketMqMessage } from '../../src/format/rocketmq.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import {
  javaHash,
  MAGIC_V1,
  MAGIC_V2,
  type ReferenceMessage,
  readEntries,
  readMessage,
  referenceMessage,
  writeEntry,
  writeMessage,
} from './rocketmq_reference.ts';

const V6 = { address: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], port: 10_911 };

function ours(message: OutgoingMessage, position = 4_096): Buffer {
  validateMessage(message);
  const record = encodeMessageRecord(message);
  sealRecord(record, 0, { index: logIndex(7), term: term(3), position: physicalOffset(position), prevChain: 0 });
  return record;
}

function theirs(message: ReferenceMessage): { read: RocketMqMessage; bytes: Buffer } {
  const bytes = Buffer.concat([Buffer.from('before'), writeMessage(message), Buffer.from('behind')]);
  const read = readRocketMqMessage(bytes, 6, bytes.length - 6);
  if (typeof read === 'string') throw new Error(read);
  return { read, bytes };
}

const text = fc
  .string({ unit: fc.constantFrom(...'abcXYZ 0-_äß漢🙂'), minLength: 1, maxLength: 12 })
  .filter((t) => t.trim() !== '');
const properties = fc.dictionary(text, text, { maxKeys: 4 });

describe("messages in RocketMQ's layout, held against an independent reader and writer", () => {
  it('what we write is what the page describes, field by field', () => {
    const message = fc.record({
      topic: fc.stringMatching(/^[a-zA-Z0-9_%|-]{1,127}$/).filter((name) => name !== 'TBW102'),
      queueId: fc.nat(1_000),
      body: fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      bornAtMs: fc.nat(),
      tag: fc.option(text, { nil: undefined }),
      keys: fc.array(
        text.map((key) => key.trim()),
        { maxLength: 3 },
      ),
      uniqueKey: fc.option(text, { nil: undefined }),
      properties,
    });
    fc.assert(
      fc.property(message, (given) => {
        const record = ours(given);
        const read = readMessage(record, RECORD_HEADER_BYTES);
        expect(read.sizeBytes).to.equal(record.length - RECORD_HEADER_BYTES);
        expect(read).to.deep.include({
          magic: MAGIC_V1,
          queueId: given.queueId,
          flag: 0,
          topic: given.topic,
          sysFlag: 0,
        });
        expect(read).to.deep.include({
          reconsumeTimes: 0,
          preparedTransactionOffset: 0n,
          bornTimestamp: BigInt(given.bornAtMs),
        });
        expect(read.physicalOffset, 'where the message begins, as DLedger stores do').to.equal(4_096n + 48n);
        expect(read.body).to.deep.equal(given.body);
        expect(read.bornHost).to.deep.equal({ address: [0, 0, 0, 0], port: 0 });
        expect(read.storeHost).to.deep.equal({ address: [0, 0, 0, 0], port: 0 });
        const expected = [
          ...(given.tag === undefined ? [] : [['TAGS', given.tag]]),
          ...(given.keys.length === 0 ? [] : [['KEYS', given.keys.join(' ')]]),
          ...(given.uniqueKey === undefined ? [] : [['UNIQ_KEY', given.uniqueKey]]),
          ...Object.entries(given.properties),
          ['PSEQ', '0'.repeat(28)],
        ];
        expect(read.properties).to.deep.equal(expected);
      }),
      { numRuns: 200 },
    );
  });

  const host = fc.record({
    address: fc.oneof(
      fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
      fc.array(fc.nat(255), { minLength: 16, maxLength: 16 }),
    ),
    port: fc.nat(65_535),
  });

  it('what the page describes is what we read: V1 and V2, IPv4 and IPv6, all flags', () => {
    const long = fc.bigInt({ min: 0n, max: 2n ** 53n - 1n });
    const message = fc.record({
      topic: fc.string({ unit: fc.constantFrom(...'ab%_'), minLength: 1, maxLength: 300 }),
      queueId: fc.nat(),
      flag: fc.integer(),
      queueOffset: long,
      physicalOffset: long,
      sysFlag: fc.nat(0xfff).map((flags) => flags & ~0x30),
      bornTimestamp: long,
      bornHost: host,
      storeTimestamp: long,
      storeHost: host,
      reconsumeTimes: fc.nat(16),
      preparedTransactionOffset: long,
      body: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      properties: fc.uniqueArray(fc.tuple(text, text), { selector: ([name]) => name, maxLength: 5 }),
    });
    fc.assert(
      fc.property(message, (given) => {
        const { read, bytes } = theirs(referenceMessage(given));
        const { queueId, flag, reconsumeTimes, topic } = given;
        expect(read).to.deep.include({
          queueId,
          flag,
          reconsumeTimes,
          topic,
          version: given.topic.length > 127 ? 2 : 1,
        });
        expect(BigInt(read.queueOffset)).to.equal(given.queueOffset);
        expect(BigInt(read.physicalOffset)).to.equal(given.physicalOffset);
        expect(BigInt(read.bornAtMs)).to.equal(given.bornTimestamp);
        expect(BigInt(read.storedAtMs)).to.equal(given.storeTimestamp);
        expect(BigInt(read.preparedOffset)).to.equal(given.preparedTransactionOffset);
        expect(read.sysFlag & ~0x30).to.equal(given.sysFlag);
        expect(bytes.subarray(read.bodyStart, read.bodyEnd)).to.deep.equal(given.body);
        expect([...decodeProperties(bytes, read.propertiesStart, read.propertiesEnd)]).to.deep.equal(given.properties);
        for (const [at, { address, port }] of [
          [read.bornHostAt, given.bornHost],
          [read.storeHostAt, given.storeHost],
        ] as const) {
          expect([...bytes.subarray(at, at + address.length)]).to.deep.equal(address);
          expect(hostText(bytes, at, address.length === 16)).to.match(new RegExp(`:${port}$`));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('a message of V1 is read by the reader of our own log as well', () => {
    const given = referenceMessage({
      topic: 'orders',
      queueOffset: 5n,
      bornHost: V6,
      properties: [
        ['TAGS', 'a'],
        ['KEYS', 'x y'],
      ],
    });
    const body = writeMessage(given);
    const record = writeEntry({ magic: recordMagic.message, index: 1n, term: 1n, position: 0n, body });
    const read = decodeMessageRecord(record, 0, record.length);
    expect(read).to.deep.include({
      topic: 'orders',
      queueOffset: 5,
      tag: 'a',
      keys: ['x', 'y'],
      bornAtMs: 1_700_000_000_000,
    });
    expect(read?.storedAtMs).to.equal(1_700_000_000_001);
  });

  it("our record is an entry of DLedger's", () => {
    const record = ours({ topic: 't', queueId: 1, body: Buffer.from('x'), bornAtMs: 1 });
    const { entries } = readEntries(record);
    expect(entries).to.have.length(1);
    expect(entries[0]).to.deep.include({ magic: 1, index: 7n, term: 3n, position: 4_096n });
  });

  it('hosts are told as people write them', () => {
    const { read, bytes } = theirs(referenceMessage({ topic: 't', bornHost: V6 }));
    expect(hostText(bytes, read.bornHostAt, true)).to.equal('[2001:db8::7]:10911');
    expect(hostText(bytes, read.storeHostAt, false)).to.equal('127.0.0.1:10911');
  });

  it('tags hash as Java strings do', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (tag) => tagHash(tag) === javaHash(tag)));
    expect(tagHash('TagA')).to.equal(2_598_919);
  });

  it('system flags tell the compression', () => {
    const flags = [0x0, 0x1, 0x101, 0x201, 0x301, 0x401, 0x200];
    expect(flags.map(compressionOf)).to.deep.equal(['none', 'zlib', 'lz4', 'zstd', 'zlib', 'unknown', 'none']);
  });

  const flaws: readonly [string, (bytes: Buffer) => unknown, RegExp][] = [
    ['a body that was changed', (bytes) => bytes.writeUInt8(bytes[88]! ^ 1, 88), /checksum of its body/],
    ['an unknown magic', (bytes) => bytes.writeUInt32BE(MAGIC_V2 + 1, 4), /unknown magic/],
    ['another size', (bytes) => bytes.writeUInt32BE(bytes.length + 1, 0), /another size/],
    ['a body without end', (bytes) => bytes.writeUInt32BE(0xffff_ffff, 84), /body that reaches beyond/],
    ['a time beyond all times', (bytes) => bytes.writeBigInt64BE(-1n, 40), /above 2\^53/],
    ['the other magic', (bytes) => bytes.writeUInt32BE(MAGIC_V2, 4), /topic|properties/],
    ['hosts that are longer', (bytes) => bytes.writeUInt32BE(0x30, 36), /beyond|properties|2\^53|too short/],
  ];
  for (const [what, harm, reason] of flaws) {
    it(`${what} is told`, () => {
      const bytes = writeMessage(referenceMessage({ topic: 'orders' }));
      harm(bytes);
      expect(readRocketMqMessage(bytes, 0, bytes.length)).to.match(reason);
    });
  }

  it('whatever the bytes are, reading them does not throw', () => {
    const good = writeMessage(referenceMessage({ topic: 'orders', properties: [['a', 'b']] }));
    const flips = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 });
    fc.assert(
      fc.property(flips, fc.nat(good.length), (changes, length) => {
        const bytes = Buffer.from(good);
        for (const [at, value] of changes) bytes[at] = value;
        bytes.writeUInt32BE(length, 0);
        readRocketMqMessage(bytes, 0, length);
      }),
      { numRuns: 2_000 },
    );
  });

  it('an id counts as much as any property', () => {
    const message = { topic: 't', queueId: 0, body: Buffer.from('x'), bornAtMs: 0 };
    const uniqueKey = 'x'.repeat(messageLimits.propertyBytesMax + 1);
    expect(() => validateMessage({ ...message, uniqueKey })).to.throw(/properties have/);
    expect(() => validateMessage({ ...message, uniqueKey: 'a\u0001' })).to.throw(/control character/);
  });
});
