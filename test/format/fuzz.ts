// Every decoder of src/format against bytes that were bent: none throws anything but the error it declares, and none makes
// more of its bytes than there are.
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import {
  decodeMembership,
  decodeMembershipEntry,
  encodeMembership,
  encodeMembershipEntry,
} from '../../src/format/membership.ts';
import {
  decodeMessageRecord,
  decodeProperties,
  encodeMessageRecord,
  hasProducerStamp,
  isMessageBodyIntact,
  locateParts,
  newParts,
  producerIdOf,
  sequenceOf,
} from '../../src/format/message.ts';
import {
  keyHashIn,
  keyHashSeedOf,
  locateFindable,
  newFindableParts,
  someKey,
  tagHashIn,
} from '../../src/format/message_keys.ts';
import { chainCrcOf, isBodyIntact, isRecordWhole, RECORD_HEADER_BYTES } from '../../src/format/record.ts';
import { hostText, readRocketMqMessage, sysFlag } from '../../src/format/rocketmq.ts';
import { logIndex, type Membership } from '../../src/raft/types.ts';
import { referenceMessage, writeMessage } from './rocketmq_reference.ts';

/** A decoder, bytes it understands, and how large what it makes is. */
export interface FuzzTarget {
  readonly name: string;
  readonly samples: readonly Buffer[];
  /** The codes of `TLedgerError` that it declares. */
  readonly declared: readonly string[];
  /** @returns the size of the result, in characters and bytes. */
  readonly decode: (bytes: Buffer) => number;
}

const record = encodeMessageRecord({
  topic: 'orders',
  queueId: 3,
  body: Buffer.from('a body'),
  bornAtMs: 1_700_000_000_000,
  tag: 'tag',
  keys: ['k1', 'k2'],
  uniqueKey: '0A0B',
  properties: { colour: 'blau', name: 'Ü' },
});
const v6 = { address: Array.from({ length: 16 }, (_, at) => at), port: 1 };
const rocketMq = [
  referenceMessage({
    topic: 'orders',
    properties: [
      ['TAGS', 'a'],
      ['KEYS', 'x y'],
      ['UNIQ_KEY', 'z'],
    ],
  }),
  referenceMessage({ topic: 'x'.repeat(200), bornHost: v6, storeHost: v6 }),
].map(writeMessage);
const membership: Membership = {
  voters: ['n0', 'n1'],
  outgoing: [],
  learners: [{ id: 'n2', promote: true, replaces: null }],
  addresses: Object.fromEntries(['n0', 'n1', 'n2'].map((id) => [id, { peer: `${id}.test:1`, client: `${id}.test:2` }])),
};

function sizeOf(value: unknown): number {
  return JSON.stringify(value ?? null).length;
}

function messageSize(bytes: Buffer): number {
  const message = decodeMessageRecord(bytes, 0, bytes.length);
  if (message === undefined) return 0;
  const texts = [message.topic, message.tag ?? '', ...message.keys, ...[...message.properties].flat()];
  return message.body.length + texts.join('').length;
}

function partsSize(bytes: Buffer): number {
  const parts = newParts();
  if (bytes.length < RECORD_HEADER_BYTES || !locateParts(bytes, RECORD_HEADER_BYTES, bytes.length, parts)) return 0;
  isMessageBodyIntact(bytes, RECORD_HEADER_BYTES, parts);
  const found = newFindableParts();
  locateFindable(bytes, parts.propertiesStart, parts.propertiesEnd, found);
  tagHashIn(bytes, found);
  let keys = 0;
  const seed = keyHashSeedOf(bytes, parts);
  someKey(bytes, found, (start, end) => {
    keys += keyHashIn(seed, bytes, start, end) < 0 ? 0 : 1;
    return false;
  });
  if (!hasProducerStamp(bytes, parts)) return keys;
  sequenceOf(bytes, parts);
  return keys + producerIdOf(bytes, parts).length;
}

/** All decoders. */
export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'decodeMessageRecord', samples: [record], declared: [], decode: messageSize },
  { name: 'locateParts and what follows', samples: [record], declared: [], decode: partsSize },
  {
    name: 'decodeProperties',
    samples: [Buffer.from('TAGS\u0001a\u0002KEYS\u0001x y\u0002open\u0001end')],
    declared: [],
    decode: (bytes) => [...decodeProperties(bytes, 0, bytes.length)].flat().join('').length,
  },
  {
    name: 'isRecordWhole and what follows',
    samples: [record],
    declared: [],
    decode: (bytes) => {
      if (!isRecordWhole(bytes, 0, bytes.length)) return 0;
      isBodyIntact(bytes, 0);
      chainCrcOf(bytes, 0, 0);
      return 0;
    },
  },
  {
    name: 'readRocketMqMessage',
    samples: rocketMq,
    declared: [],
    decode: (bytes) => {
      const message = readRocketMqMessage(bytes, 0, bytes.length);
      if (typeof message === 'string') return 0;
      hostText(bytes, message.bornHostAt, (message.sysFlag & sysFlag.bornHostV6) !== 0);
      hostText(bytes, message.storeHostAt, (message.sysFlag & sysFlag.storeHostV6) !== 0);
      return message.topic.length + message.bodyEnd - message.bodyStart;
    },
  },
  {
    name: 'decodeMembership',
    samples: [encodeMembership(membership)],
    declared: ['DATA_CORRUPTED'],
    decode: (bytes) => sizeOf(decodeMembership(bytes)),
  },
  {
    name: 'decodeMembershipEntry',
    samples: [encodeMembershipEntry({ index: logIndex(7), membership }), Buffer.alloc(0)],
    declared: ['DATA_CORRUPTED'],
    decode: (bytes) => sizeOf(decodeMembershipEntry(bytes)),
  },
];

/** What a result may have beyond its bytes: names of fields, and text that grows by being escaped. */
const RESULT_FACTOR = 6;
const RESULT_EXTRA = 256;

/** Samples with bytes changed, cut out or put in, and the first length fields repaired; and bytes that are anything. */
function bent(samples: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const change = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom('set', 'flip', 'cut', 'put', 'word'),
    byte: fc.nat(255),
    count: fc.nat(24),
  });
  const changed = fc
    .tuple(fc.constantFrom(...samples), fc.array(change, { maxLength: 8 }), fc.boolean(), fc.nat(3))
    .map(([sample, changes, isRepaired, slack]) => {
      let bytes = Buffer.from(sample);
      for (const { at, kind, byte, count } of changes) {
        const place = bytes.length === 0 ? 0 : at % bytes.length;
        if (kind === 'cut') bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + count)]);
        else if (kind === 'put')
          bytes = Buffer.concat([bytes.subarray(0, place), Buffer.alloc(count, byte), bytes.subarray(place)]);
        else if (kind === 'word' && place + 4 <= bytes.length)
          bytes.writeInt32BE([0, -1, 2 ** 31 - 1, count][byte % 4]!, place);
        else if (bytes.length > 0) bytes[place] = kind === 'set' ? byte : bytes[place]! ^ (1 << (byte % 8));
      }
      if (isRepaired && bytes.length > RECORD_HEADER_BYTES + 8) {
        bytes.writeUInt32BE(bytes.length - slack, bytes[0] === 0 && bytes[3] === 1 ? 4 : 0);
        if (bytes[3] === 1) bytes.writeUInt32BE(bytes.length - RECORD_HEADER_BYTES, RECORD_HEADER_BYTES);
      }
      return bytes;
    });
  const anything = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  return fc.oneof({ weight: 9, arbitrary: changed }, { weight: 1, arbitrary: anything });
}

/** Tries one decoder so often. @throws Error with the smallest bytes that it stumbles over, and the seed. */
export function fuzz({ samples, declared, decode }: FuzzTarget, seed: number, numRuns: number): void {
  const property = fc.property(bent(samples), (bytes) => {
    const limit = RESULT_FACTOR * bytes.length + RESULT_EXTRA;
    try {
      const size = decode(bytes);
      if (size > limit) throw new Error(`${size} made of ${bytes.length} bytes`);
    } catch (error) {
      if (!(error instanceof TLedgerError) || !declared.includes(error.code)) throw error;
    }
  });
  fc.assert(property, { seed, numRuns });
}
