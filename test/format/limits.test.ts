import { expect } from 'chai';
import { type ErrorCode, TLedgerError } from '../../src/base/errors.ts';
import {
  checkProducerId,
  checkTopicName,
  messageLimits,
  reservedProperties,
  validateMessage,
} from '../../src/format/limits.ts';
import type { OutgoingMessage } from '../../src/format/message.ts';

function codeOf(run: () => unknown): ErrorCode | 'none' {
  try {
    run();
    return 'none';
  } catch (error) {
    if (!(error instanceof TLedgerError)) throw error;
    return error.code;
  }
}

function outgoing(some: Partial<OutgoingMessage>): OutgoingMessage {
  return { topic: 'T', queueId: 0, body: Buffer.from('b'), bornAtMs: 1, ...some };
}

describe('topic names', () => {
  const legal = ['T', 'a-b_C9', '%RETRY%group', '%DLQ%group', 'a|b', '__proto__', 'constructor', 'x'.repeat(127)];
  const illegal = [
    '',
    'x'.repeat(128),
    'a b',
    'a/b',
    '..',
    '.',
    'a.b',
    '../../etc/passwd',
    'a\\b',
    'a\u0000b',
    'ä',
    'a\n',
    'TBW102',
    'rmq_sys_anything',
    'SCHEDULE_TOPIC_XXXX',
    'CHECKPOINT_TOPIC',
  ];
  for (const name of legal) {
    it(`allow ${JSON.stringify(name)}`, () => expect(codeOf(() => checkTopicName(name))).to.equal('none'));
  }
  for (const name of illegal) {
    it(`refuse ${JSON.stringify(name)}`, () => expect(codeOf(() => checkTopicName(name))).to.equal('ILLEGAL_TOPIC'));
  }
});

describe('producer ids', () => {
  it('are 16 lower-case hex digits; empty and all zeros ask for nothing', () => {
    expect(checkProducerId('0123456789abcdef')).to.equal(true);
    expect(checkProducerId('')).to.equal(false);
    expect(checkProducerId('0'.repeat(16))).to.equal(false);
  });
  for (const id of [
    '0',
    '0123456789ABCDEF',
    '0123456789abcde',
    '0123456789abcdef0',
    '0123456789abcdeg',
    ' '.repeat(16),
  ]) {
    it(`refuse ${JSON.stringify(id)}`, () => expect(codeOf(() => checkProducerId(id))).to.equal('INVALID_ARGUMENT'));
  }
});

describe('messages, on both sides of each limit', () => {
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, number) => [`p${number}`, 'v']));
  const cases: [string, Partial<OutgoingMessage>, ErrorCode | 'none'][] = [
    ['a body of 1 byte', { body: Buffer.alloc(1) }, 'none'],
    ['an empty body', { body: Buffer.alloc(0) }, 'BODY_EMPTY'],
    ['a body of 4 MiB', { body: Buffer.alloc(4_194_304) }, 'none'],
    ['a body of 4 MiB and a byte', { body: Buffer.alloc(4_194_305) }, 'BODY_TOO_LARGE'],
    ['128 properties', { properties: many(128) }, 'none'],
    ['129 properties', { properties: many(129) }, 'PROPERTIES_TOO_LARGE'],
    ['16,384 bytes of properties', { properties: { abcd: 'x'.repeat(16_380) } }, 'none'],
    ['16,385 bytes of properties', { properties: { abcd: 'x'.repeat(16_381) } }, 'PROPERTIES_TOO_LARGE'],
    ['bytes, not characters', { properties: { abcd: 'é'.repeat(8_191) } }, 'PROPERTIES_TOO_LARGE'],
    ['tag and keys count', { tag: 'x'.repeat(8_000), keys: ['y'.repeat(8_384)] }, 'none'],
    ['tag and keys count', { tag: 'x'.repeat(8_000), keys: ['y'.repeat(8_385)] }, 'PROPERTIES_TOO_LARGE'],
    ['a plain tag', { tag: 'TagA' }, 'none'],
    ['no tag', { tag: '' }, 'none'],
    ['a blank tag', { tag: '  ' }, 'ILLEGAL_TAG'],
    ['a tag with a bar', { tag: 'a|b' }, 'ILLEGAL_TAG'],
    ['a tag with a control character', { tag: 'a\u0002b' }, 'ILLEGAL_TAG'],
    ['a tag with a C1 control character', { tag: 'a\u0085' }, 'ILLEGAL_TAG'],
    ['a blank key', { keys: ['a', ' '] }, 'ILLEGAL_KEY'],
    ['a key with a control character', { keys: ['a\u007f'] }, 'ILLEGAL_KEY'],
    ['a property without a name', { properties: { '': 'v' } }, 'ILLEGAL_PROPERTY'],
    ['a property name with a separator', { properties: { 'a\u0001b': 'v' } }, 'ILLEGAL_PROPERTY'],
    ['a property value with a separator', { properties: { a: 'v\u0002PSEQ\u0001x' } }, 'ILLEGAL_PROPERTY'],
    ['an empty property value', { properties: { a: '' } }, 'none'],
    ['the born time 0', { bornAtMs: 0 }, 'none'],
    ['a negative born time', { bornAtMs: -1 }, 'INVALID_ARGUMENT'],
    ['a born time above 2^53', { bornAtMs: 2 ** 53 }, 'INVALID_ARGUMENT'],
    ['a broken born time', { bornAtMs: 1.5 }, 'INVALID_ARGUMENT'],
    ['a negative queue', { queueId: -1 }, 'QUEUE_OUT_OF_RANGE'],
    ['half a queue', { queueId: 0.5 }, 'QUEUE_OUT_OF_RANGE'],
    ['an illegal topic', { topic: 'a/b' }, 'ILLEGAL_TOPIC'],
  ];
  for (const [name, some, expected] of cases) {
    it(`${name}: ${expected}`, () => expect(codeOf(() => validateMessage(outgoing(some)))).to.equal(expected));
  }

  it('may not use a name that means something to brokers', () => {
    expect(reservedProperties.size).to.equal(56);
    for (const name of reservedProperties) {
      expect(
        codeOf(() => validateMessage(outgoing({ properties: { [name]: 'v' } }))),
        name,
      ).to.equal('ILLEGAL_PROPERTY');
    }
  });

  it('a batch of the most messages has room for their headers', () => {
    expect(messageLimits.batchBytesMax).to.be.at.least(
      messageLimits.batchBodyBytesMax + messageLimits.batchCountMax * 256,
    );
  });
});
