// Requests that no client would send: bytes made field by field from the protocol's own definition, each field missing,
// empty, huge, of a value that has no meaning, of another wire type or cut off. From a seed.
import { packageDefinition } from '../../../src/wire/proto.ts';

interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

interface Shape {
  readonly field: readonly Field[];
  readonly nestedType: readonly (Shape & { readonly name: string })[];
}

const PACKAGE = 'apache.rocketmq.v2.';
const DEPTH_MAX = 6;

/** What texts are tried; names of what is there come most, so that a request gets past the first check. */
export interface Vocabulary {
  readonly names: readonly string[];
  readonly texts: readonly string[];
}

const TEXTS = [
  '',
  ' ',
  'a\u0000b',
  '\u0001',
  '\u0002',
  '../..',
  '%',
  '|',
  'x'.repeat(129),
  'x'.repeat(40_000),
  '1-0',
  '√∞',
];
const NUMBERS = [
  0n,
  1n,
  -1n,
  2n,
  7n,
  99n,
  5_000_000n,
  2n ** 31n - 1n,
  -(2n ** 31n),
  2n ** 53n,
  2n ** 63n - 1n,
  -(2n ** 63n),
];

/** Makes requests. Not for cryptography. */
export class HostileRequests {
  #state: number;
  readonly #vocabulary: Vocabulary;

  constructor(seed: number, vocabulary: Vocabulary) {
    this.#state = seed >>> 0;
    this.#vocabulary = vocabulary;
  }

  /** The bytes of a message of that type; now and then of none. */
  next(type: string): Buffer {
    const bytes = this.#message(shapeOf(type), 0);
    if (bytes.length === 0 || this.#below(12) > 0) return bytes;
    if (this.#below(2) === 0) return bytes.subarray(0, this.#below(bytes.length));
    bytes[this.#below(bytes.length)]! ^= 1 << this.#below(8);
    return bytes;
  }

  #message(shape: Shape, depth: number): Buffer {
    const parts: Buffer[] = [];
    for (const field of shape.field) {
      if (this.#below(depth === 0 ? 12 : 5) === 0) continue;
      const count = field.label === 'LABEL_REPEATED' ? this.#below(4) : 1;
      for (let at = 0; at < count; at++) parts.push(this.#field(shape, field, depth));
    }
    return Buffer.concat(parts);
  }

  #field(shape: Shape, { name, number, type, typeName }: Field, depth: number): Buffer {
    if (this.#below(200) === 0) return Buffer.concat([varint(BigInt(number * 8)), varint(this.#pick(NUMBERS))]);
    const delimited = (bytes: Buffer): Buffer =>
      Buffer.concat([varint(BigInt(number * 8 + 2)), varint(BigInt(bytes.length)), bytes]);
    switch (type) {
      case 'TYPE_MESSAGE': {
        const nested = shape.nestedType.find((one) => one.name === typeName);
        return delimited(depth >= DEPTH_MAX ? Buffer.alloc(0) : this.#message(nested ?? shapeOf(typeName), depth + 1));
      }
      case 'TYPE_STRING':
        return delimited(Buffer.from(this.#text(name)));
      case 'TYPE_BYTES':
        return delimited(Buffer.alloc(this.#pick([0, 1, 1, 100, 100_000]), 'b'));
      case 'TYPE_FLOAT': {
        const bytes = Buffer.alloc(4);
        bytes.writeFloatLE(this.#pick([0, -1, Number.NaN, Number.POSITIVE_INFINITY]));
        return Buffer.concat([varint(BigInt(number * 8 + 5)), bytes]);
      }
      default:
        return Buffer.concat([varint(BigInt(number * 8)), varint(this.#number(type))]);
    }
  }

  #number(type: string): bigint {
    if (this.#below(8) > 0) return BigInt(this.#below(type === 'TYPE_ENUM' ? 7 : 40));
    return this.#pick(NUMBERS);
  }

  #text(field: string): string {
    const { names, texts } = this.#vocabulary;
    if (this.#below(16) === 0) return this.#pick(TEXTS);
    if (field === 'resourceNamespace') return '';
    return this.#pick(field === 'name' || field === 'liteTopicSet' ? names : texts);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)]!;
  }

  /** mulberry32 */
  #below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  }
}

function shapeOf(typeName: string): Shape {
  const definition = packageDefinition[typeName.includes('.') ? typeName : PACKAGE + typeName];
  if (definition === undefined || !('type' in definition)) throw new Error(`no message ${typeName}`);
  return definition.type as unknown as Shape;
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}
