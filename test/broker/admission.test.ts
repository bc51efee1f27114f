import { expect } from 'chai';
import type { PackedAppend } from '../../src/broker/types.ts';
import { reservedProperties, validateMessage } from '../../src/format/limits.ts';
import { encodeMessageRecord, type OutgoingMessage } from '../../src/format/message.ts';
import { blankRecord, indexAt, RECORD_HEADER_BYTES, recordMagic } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import { batch, codeOf, Harness, message, messagesOf, PRODUCER_A, START_MS } from './fixture.ts';

const AT = RECORD_HEADER_BYTES;
let harness: Harness;

beforeEach(async () => {
  harness = await Harness.start({ queues: 2 });
});

function packed(record: Buffer, some: Partial<PackedAppend> = {}): PackedAppend {
  return { topic: 'T', queueId: 0, producerId: '', sequence: 1, records: record, ...some };
}

/** A record whose properties are these bytes, followed by room for the stamp unless `stamp` is false. */
function withProperties(properties: string | Buffer, stamp = true): Buffer {
  const plain = encodeMessageRecord(message());
  const stampBytes = stamp ? plain.subarray(plain.length - 34) : Buffer.alloc(0);
  const all = Buffer.concat([Buffer.from(properties), stampBytes]);
  const record = Buffer.concat([plain.subarray(0, plain.length - 36), Buffer.alloc(2), all]);
  record.writeUInt16BE(all.length, plain.length - 36);
  return resized(record);
}

/** Makes the size fields say what the buffer holds. */
function resized(record: Buffer): Buffer {
  record.writeUInt32BE(record.length, 4);
  record.writeUInt32BE(record.length - AT, 44);
  record.writeUInt32BE(record.length - AT, AT);
  return record;
}

function spoiled(change: (record: Buffer) => void): Buffer {
  const record = encodeMessageRecord(message());
  change(record);
  return record;
}

describe('a batch that is admitted', () => {
  it('gets offsets, store time and indices; the next one goes on from there', () => {
    const request = batch(['a', 'b', 'c']);
    const admission = harness.broker.admit(request, { firstIndex: logIndex(10), nowMs: START_MS + 5 });
    expect(admission).to.deep.equal({
      kind: 'append',
      start: 0,
      end: request.records.length,
      result: { queueOffset: 0, count: 3, lastIndex: 12, repeated: false },
    });
    const size = request.records.length / 3;
    for (let number = 0; number < 3; number++) {
      const at = number * size + AT;
      expect(request.records.readBigUInt64BE(at + 20), 'queue offset').to.equal(BigInt(number));
      expect(request.records.readBigUInt64BE(at + 56), 'store time').to.equal(BigInt(START_MS + 5));
    }
    const next = harness.broker.admit(batch(['d']), { firstIndex: logIndex(13), nowMs: START_MS });
    expect(next.result).to.deep.equal({ queueOffset: 3, count: 1, lastIndex: 13, repeated: false });
    const other = harness.broker.admit(batch(['e'], { queueId: 1 }), { firstIndex: logIndex(14), nowMs: START_MS });
    expect(other.result.queueOffset).to.equal(0);
  });

  for (const extra of [0, 12]) {
    it(`holds nothing that a producer wrote into a broker's fields (born host of ${8 + extra} bytes)`, () => {
      const plain = encodeMessageRecord(message());
      const records = resized(
        Buffer.concat([plain.subarray(0, AT + 48), Buffer.alloc(extra, 7), plain.subarray(AT + 48)]),
      );
      if (extra > 0) records.writeInt32BE(0x10, AT + 36);
      // Store host, how often consumed, offset of the prepared message: 64 to 84 (ROCKETMQ_GRPC.md 10.2).
      records.fill(0xff, AT + 64 + extra, AT + 84 + extra);
      const { records: stored } = harness.pull(0, harness.append(packed(records)).queueOffset);
      expect(stored.toString('hex', AT + 64 + extra, AT + 84 + extra)).to.equal('00'.repeat(20));
      expect(stored.readUInt32BE(AT + 84 + extra), 'the size of the body behind them').to.equal(4);
      expect(stored.toString('hex', AT + 48, AT + 48 + extra), 'the born host before them').to.equal(
        '07'.repeat(extra),
      );
    });
  }

  it('may have properties that are named almost as reserved ones', () => {
    for (const name of ['DELAYS', 'DELA', 'delay', 'xDELAY', 'KEYSS', 'TTLS', '__CRC32', '1ST_POP_TIMES']) {
      expect(reservedProperties.has(name)).to.equal(false);
      harness.append(packed(withProperties(`${name}\u0001v\u0002`)));
    }
  });

  it('takes nothing from the stamp a client wrote: without a producer it is blank', () => {
    const records = encodeMessageRecord(message());
    records.write('a0a0a0a0a0a0a0a1000000000007', records.length - 29, 'latin1');
    harness.append(packed(records));
    harness.append(batch(['b'], { producerId: PRODUCER_A, sequence: 1 }));
    const { records: stored } = harness.pull(0, 0);
    expect(stored.toString('latin1')).to.include(`PSEQ\u0001${'0'.repeat(28)}\u0002`);
    expect(stored.toString('latin1')).to.include(`PSEQ\u0001${PRODUCER_A}000000000001\u0002`);
  });

  it('takes all zeros for no producer: repeats are appended again', () => {
    for (const producerId of ['', '0'.repeat(16)]) {
      harness.append(batch(['a'], { producerId }));
      expect(harness.append(batch(['a'], { producerId })).repeated).to.equal(false);
    }
    expect(harness.bodies(0)).to.deep.equal(['a', 'a', 'a', 'a']);
  });

  it('may come with a born host that is IPv6', () => {
    const plain = encodeMessageRecord(message({ body: Buffer.from('v6'), tag: 't' }));
    const records = resized(Buffer.concat([plain.subarray(0, AT + 56), Buffer.alloc(12), plain.subarray(AT + 56)]));
    records.writeUInt32BE(0x10, AT + 36);
    harness.append(packed(records));
    const [stored] = messagesOf(harness.pull(0, 0));
    expect(stored).to.include({ queueOffset: 0, storedAtMs: START_MS, tag: 't' });
    expect(stored?.body.toString()).to.equal('v6');
  });

  it('stands behind what was admitted before', () => {
    harness.broker.admit(batch(['a', 'b']), { firstIndex: logIndex(5), nowMs: START_MS });
    for (const firstIndex of [1, 5, 6]) {
      expect(() => harness.broker.admit(batch(['c']), { firstIndex: logIndex(firstIndex), nowMs: START_MS })).to.throw(
        'records are admitted',
      );
    }
  });

  it('is only admitted by a leader, who starts from the applied state', () => {
    harness.append(batch(['a']));
    harness.broker.admit(batch(['lost', 'lost']), { firstIndex: logIndex(3), nowMs: START_MS });
    harness.broker.stopLeading();
    expect(() => harness.admit(batch(['b']))).to.throw('only a leader admits');
    expect(() => harness.broker.proposeTopic('U', 1, START_MS)).to.throw('only a leader proposes');
    harness.broker.startLeading();
    expect(harness.append(batch(['b'])).queueOffset).to.equal(1);
    expect(harness.bodies(0)).to.deep.equal(['a', 'b']);
  });
});

describe('a batch that is refused', () => {
  const long = (count: number, size: number) =>
    Array.from({ length: count }, (_, number) => `p${number}\u0001${'v'.repeat(size)}\u0002`).join('');
  const cases: [string, string, () => PackedAppend][] = [
    ['an unknown topic', 'TOPIC_NOT_FOUND', () => batch(['a'], { topic: 'U' })],
    ['a queue out of range', 'QUEUE_OUT_OF_RANGE', () => batch(['a'], { queueId: 2 })],
    ['no message', 'INVALID_ARGUMENT', () => packed(Buffer.alloc(0))],
    ['a cut record', 'MESSAGE_CORRUPTED', () => packed(spoiled(() => {}).subarray(0, -1))],
    ['half a header', 'MESSAGE_CORRUPTED', () => packed(Buffer.alloc(47, 1))],
    [
      'bytes behind the last record',
      'MESSAGE_CORRUPTED',
      () => packed(Buffer.concat([spoiled(() => {}), Buffer.alloc(3)])),
    ],
    ['a no-op', 'MESSAGE_CORRUPTED', () => packed(blankRecord(recordMagic.noop, Buffer.alloc(200)))],
    ['a command', 'MESSAGE_CORRUPTED', () => packed(blankRecord(recordMagic.command, Buffer.from('{}')))],
    ['a no-op that looks like a message', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => r.writeInt32BE(2, 0)))],
    ['a filler', 'MESSAGE_CORRUPTED', () => packed(spoiled((record) => record.writeInt32BE(-1, 0)))],
    ['a foreign magic of the message', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => r.writeInt32BE(1, AT + 4)))],
    ['a wrong total size', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => r.writeUInt32BE(9, AT)))],
    [
      'a body longer than the record',
      'MESSAGE_CORRUPTED',
      () => packed(spoiled((r) => r.writeUInt32BE(2 ** 31, AT + 84))),
    ],
    ['a body that does not match its CRC', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => (r[AT + 88]! ^= 1)))],
    ['a born time above 2^53', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => r.writeUInt8(0x7f, AT + 40)))],
    ['a queue offset above 2^53', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => r.writeUInt8(0x7f, AT + 20)))],
    ['an IPv6 store host', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => r.writeUInt32BE(0x20, AT + 36)))],
    ['a transaction flag', 'MESSAGE_CORRUPTED', () => packed(spoiled((r) => r.writeUInt32BE(0x4, AT + 36)))],
    ['no room for the stamp', 'MESSAGE_CORRUPTED', () => packed(withProperties('', false))],
    ['another topic inside', 'INVALID_ARGUMENT', () => packed(encodeMessageRecord(message({ topic: 'U' })))],
    ['a longer topic inside', 'INVALID_ARGUMENT', () => packed(encodeMessageRecord(message({ topic: 'TT' })))],
    ['another queue inside', 'INVALID_ARGUMENT', () => packed(encodeMessageRecord(message({ queueId: 1 })))],
    ['an empty body', 'BODY_EMPTY', () => batch([''])],
    ['a second record that is bad', 'BODY_EMPTY', () => batch(['a', ''])],
    ['a property without a name', 'ILLEGAL_PROPERTY', () => packed(withProperties('\u0001v\u0002'))],
    ['a property that does not end', 'ILLEGAL_PROPERTY', () => packed(withProperties('a\u0001v\u0002b\u0002'))],
    ['a property without a value', 'ILLEGAL_PROPERTY', () => packed(withProperties('a\u0002'))],
    ['a property with a third part', 'ILLEGAL_PROPERTY', () => packed(withProperties('a\u0001b\u0001c\u0002'))],
    ['a control character in a name', 'ILLEGAL_PROPERTY', () => packed(withProperties('a\u0007\u0001v\u0002'))],
    ['a control character in a value', 'ILLEGAL_PROPERTY', () => packed(withProperties('a\u0001v\n\u0002'))],
    ['a C1 control character', 'ILLEGAL_PROPERTY', () => packed(withProperties('a\u0001v\u0085\u0002'))],
    ['DEL', 'ILLEGAL_PROPERTY', () => packed(withProperties('a\u0001\u007f\u0002'))],
    ['a second stamp', 'ILLEGAL_PROPERTY', () => packed(withProperties(`PSEQ\u0001${'0'.repeat(28)}\u0002`))],
    ...[...reservedProperties]
      .filter((name) => !['TAGS', 'KEYS', 'UNIQ_KEY'].includes(name))
      .map((name): [string, string, () => PackedAppend] => [
        `the reserved property ${name}`,
        'ILLEGAL_PROPERTY',
        () => packed(withProperties(`a\u0001b\u0002${name}\u0001v\u0002`)),
      ]),
    ['two unique ids', 'ILLEGAL_PROPERTY', () => packed(withProperties('UNIQ_KEY\u0001a\u0002UNIQ_KEY\u0001b\u0002'))],
    ['two tags', 'ILLEGAL_PROPERTY', () => packed(withProperties('TAGS\u0001a\u0002TAGS\u0001b\u0002'))],
    ['a blank tag', 'ILLEGAL_TAG', () => packed(withProperties('TAGS\u0001 \u0002'))],
    ['a tag with a bar', 'ILLEGAL_TAG', () => packed(withProperties('x\u0001y\u0002TAGS\u0001a|b\u0002'))],
    ['129 properties', 'PROPERTIES_TOO_LARGE', () => packed(withProperties(long(129, 1)))],
    ['too many bytes of properties', 'PROPERTIES_TOO_LARGE', () => packed(withProperties(long(1, 16_383)))],
    ['a producer id that is none', 'INVALID_ARGUMENT', () => batch(['a'], { producerId: 'xyz' })],
    ['the sequence 0', 'INVALID_ARGUMENT', () => batch(['a'], { producerId: PRODUCER_A, sequence: 0 })],
    ['half a sequence', 'INVALID_ARGUMENT', () => batch(['a'], { producerId: PRODUCER_A, sequence: 1.5 })],
    ['a sequence without room', 'INVALID_ARGUMENT', () => batch(['a'], { producerId: PRODUCER_A, sequence: 2 ** 48 })],
  ];
  for (const [name, code, make] of cases) {
    it(`because of ${name}: ${code}, and nothing has changed`, () => {
      const { lastIndex } = harness.log;
      expect(codeOf(() => harness.admit(make()))).to.equal(code);
      expect(harness.log.lastIndex).to.equal(lastIndex);
      expect(harness.append(batch(['next'], { producerId: PRODUCER_A, sequence: 1 }))).to.include({
        queueOffset: 0,
        lastIndex: lastIndex + 1,
      });
    });
  }

  it('and its bytes can be offered again after a refusal half-way', () => {
    const request = batch(['a', 'b', 'c'], { producerId: PRODUCER_A, sequence: 1 });
    const bad = { ...request, records: Buffer.concat([request.records, Buffer.from('rest')]) };
    expect(codeOf(() => harness.admit(bad))).to.equal('MESSAGE_CORRUPTED');
    const again = { ...request, records: bad.records.subarray(0, -4) };
    harness.append(batch(['first']));
    expect(harness.append(again)).to.include({ queueOffset: 1, count: 3 });
    expect(harness.bodies(0)).to.deep.equal(['first', 'a', 'b', 'c']);
  });
});

describe('a batch on both sides of a limit', () => {
  const bodies = (count: number, size: number) => Array.from({ length: count }, () => 'x'.repeat(size));
  const properties = (count: number, size: number) => {
    const each = Array.from({ length: count }, (_, number) => [`p${number}`.padEnd(4, '_'), 'v'.repeat(size)]);
    return Object.fromEntries(each) as Record<string, string>;
  };
  const filled = encodeMessageRecord(message({ properties: properties(1, 16_380) }));
  const one = (some: Partial<OutgoingMessage>) => packed(encodeMessageRecord(message(some)));
  const cases: [string, string, () => PackedAppend][] = [
    ['a body of 4 MiB', 'none', () => batch(bodies(1, 4_194_304))],
    ['a body of 4 MiB and a byte', 'BODY_TOO_LARGE', () => batch(bodies(1, 4_194_305))],
    ['bodies of 4 MiB together', 'none', () => batch(bodies(4, 1_048_576))],
    ['bodies of 4 MiB and a byte', 'BATCH_TOO_LARGE', () => batch([...bodies(4, 1_048_576), 'x'])],
    ['4,096 messages', 'none', () => batch(bodies(4_096, 1))],
    ['4,097 messages', 'BATCH_TOO_LARGE', () => batch(bodies(4_097, 1))],
    ['4,096 messages of 1 KiB', 'none', () => batch(bodies(4_096, 1_024))],
    ['records of less than 5 MiB', 'none', () => packed(Buffer.concat(Array.from({ length: 316 }, () => filled)))],
    ['records of more', 'BATCH_TOO_LARGE', () => packed(Buffer.concat(Array.from({ length: 318 }, () => filled)))],
    ['128 properties', 'none', () => one({ properties: properties(128, 1), tag: 't', keys: ['k'] })],
    ['129 properties', 'PROPERTIES_TOO_LARGE', () => one({ properties: properties(129, 1) })],
    ['16,384 bytes of properties', 'none', () => one({ properties: properties(1, 16_378), tag: 't', keys: ['k'] })],
    ['one more', 'PROPERTIES_TOO_LARGE', () => one({ properties: properties(1, 16_379), tag: 't', keys: ['k'] })],
  ];
  for (const [name, code, make] of cases) {
    it(`${name}: ${code}`, () => expect(codeOf(() => harness.admit(make()))).to.equal(code));
  }

  it('a topic of 127 characters, a queue of 1,024', async () => {
    const topic = '|'.repeat(127);
    const wide = await Harness.start({ queues: 0 });
    wide.createTopic(topic, 1_024);
    wide.append(batch(['edge'], { topic, queueId: 1_023 }));
    expect(wide.bodies(1_023, topic)).to.deep.equal(['edge']);
    expect(codeOf(() => wide.admit(batch(['a'], { topic, queueId: 1_024 })))).to.equal('QUEUE_OUT_OF_RANGE');
  });

  it('what `validateMessage` lets through, the broker lets in', () => {
    const kinds: Partial<OutgoingMessage>[] = [
      { tag: 'é', keys: ['ключ', 'b c'], properties: { 名: '値', empty: '', __proto__x: '1' } },
      { properties: Object.fromEntries([['__proto__', 'v']]) },
      { tag: 'TAGS', keys: ['', 'PSEQ'], properties: { PSEQX: 'v', TAG: 'w' } },
      { keys: ['', '', ''], tag: '' },
      { bornAtMs: 2 ** 53 - 1 },
      { properties: properties(128, 100) },
    ];
    for (const some of kinds) {
      validateMessage(message(some));
      expect(
        codeOf(() => harness.append(one(some))),
        JSON.stringify(some),
      ).to.equal('none');
    }
    expect(indexAt(harness.log.bytes, harness.log.starts[2]!)).to.equal(2);
  });
});
