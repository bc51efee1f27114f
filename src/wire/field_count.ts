// How many fields a request has, before it is decoded. A field of two bytes becomes an object of a hundred, and takes some
// microseconds: a few million of them would hold up the whole node, and its heart beats with it. So they are counted first,
// which costs next to nothing, by the message's own definition:
//
//   tag ─► varint, 4 or 8 bytes                     one field
//       └► length ─► text, bytes                    one field, passed over
//                 ├► several numbers                one field, and one for each byte
//                 └► message                        one field, and what is in it
import type { MessageTypeDefinition } from '@grpc/proto-loader';
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { packageDefinition } from './proto.ts';

/** Fields of one request, in all depths: several times what a batch of the largest count has. */
export const REQUEST_FIELDS_MAX = 131_072;

/** Fields of a message, by number, that are more than one: messages, and lists of numbers. */
type Shape = Map<number, Shape | 'numbers'>;

interface Field {
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

interface Descriptor {
  readonly name: string;
  readonly field: readonly Field[];
  readonly nestedType: readonly Descriptor[];
}

const shapes = new Map<string, Shape>();

/**
 * Refuses requests with too many fields. What is not well-formed is left to the decoder.
 * @param scope the package in which the definition stands, with a dot at its end.
 * @returns throws TLedgerError INVALID_ARGUMENT.
 */
export function fieldBound(definition: MessageTypeDefinition<object, object>, scope: string): (bytes: Buffer) => void {
  const shape = shapeOf(definition.type as unknown as Descriptor, scope);
  return (bytes) => {
    // Each field takes two bytes at least.
    if (bytes.length <= 2 * REQUEST_FIELDS_MAX) return;
    if (new Walk(bytes).count(shape, bytes.length) <= REQUEST_FIELDS_MAX) return;
    throw new TLedgerError('INVALID_ARGUMENT', `the request has more than ${REQUEST_FIELDS_MAX} fields`);
  };
}

function shapeOf(descriptor: Descriptor, scope: string): Shape {
  const name = scope + descriptor.name;
  const known = shapes.get(name);
  if (known !== undefined) return known;
  const shape: Shape = new Map();
  shapes.set(name, shape);
  for (const { number, label, type, typeName } of descriptor.field) {
    if (type !== 'TYPE_MESSAGE') {
      const isText = type === 'TYPE_STRING' || type === 'TYPE_BYTES';
      if (label === 'LABEL_REPEATED' && !isText) shape.set(number, 'numbers');
      continue;
    }
    const nested = descriptor.nestedType.find((one) => one.name === typeName);
    if (nested !== undefined) {
      shape.set(number, shapeOf(nested, `${name}.`));
      continue;
    }
    const fullName = typeName.includes('.') ? typeName : scope + typeName;
    const definition = packageDefinition[fullName];
    assert(definition !== undefined && 'type' in definition, () => `${name} has a field of type ${fullName}`);
    const fieldScope = fullName.slice(0, fullName.lastIndexOf('.') + 1);
    shape.set(number, shapeOf(definition.type as unknown as Descriptor, fieldScope));
  }
  return shape;
}

const VARINT = 0;
const EIGHT_BYTES = 1;
const DELIMITED = 2;
const FOUR_BYTES = 5;

class Walk {
  readonly #bytes: Buffer;
  #at = 0;
  #count = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Fields up to `end`, or to where there are too many or nothing makes sense any more. */
  count(shape: Shape, end: number): number {
    while (this.#at < end && this.#count <= REQUEST_FIELDS_MAX) {
      const tag = this.#varint();
      this.#count++;
      switch (tag & 7) {
        case VARINT:
          this.#varint();
          break;
        case EIGHT_BYTES:
          this.#at += 8;
          break;
        case FOUR_BYTES:
          this.#at += 4;
          break;
        case DELIMITED: {
          const length = this.#varint();
          const fieldEnd = Math.min(this.#at + length, end);
          const inner = shape.get(tag >>> 3);
          if (inner === 'numbers') this.#count += length;
          else if (inner !== undefined) this.count(inner, fieldEnd);
          this.#at = Math.max(this.#at, fieldEnd);
          break;
        }
        default:
          this.#at = this.#bytes.length;
      }
    }
    return this.#count;
  }

  /** Its low 32 bits. */
  #varint(): number {
    let value = 0;
    for (let shift = 0; this.#at < this.#bytes.length; shift += 7) {
      const byte = this.#bytes[this.#at++]!;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value >>> 0;
  }
}
