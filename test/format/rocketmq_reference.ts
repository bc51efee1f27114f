// RocketMQ's files as ROCKETMQ_GRPC.md section 10 describes them, and DLedger's as DESIGN.md section 3 does: a writer and
// a reader that share no line with src, so that each can be held against the other. Plain and slow on purpose.
import { crc32 } from 'node:zlib';

export const MAGIC_V1 = 0xdaa3_20a7;
export const MAGIC_V2 = 0xdaa3_20ab;
export const MAGIC_BLANK = 0xcbd4_3194;

/** `crc32` came to node:zlib late; the polynomial is the same everywhere. */
export function crcOf(bytes: Uint8Array): number {
  if (typeof crc32 === 'function') return crc32(bytes) >>> 0;
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** A host as its bytes: 4 or 16 of the address. */
export interface ReferenceHost {
  readonly address: readonly number[];
  readonly port: number;
}

export interface ReferenceMessage {
  readonly magic: number;
  readonly bodyCrc: number;
  readonly queueId: number;
  readonly flag: number;
  readonly queueOffset: bigint;
  readonly physicalOffset: bigint;
  readonly sysFlag: number;
  readonly bornTimestamp: bigint;
  readonly bornHost: ReferenceHost;
  readonly storeTimestamp: bigint;
  readonly storeHost: ReferenceHost;
  readonly reconsumeTimes: number;
  readonly preparedTransactionOffset: bigint;
  readonly body: Buffer;
  readonly topic: string;
  readonly properties: readonly (readonly [string, string])[];
}

const LOCALHOST: ReferenceHost = { address: [127, 0, 0, 1], port: 10_911 };

/** A message with everything that is not said. The checksum of the body is right unless it is given. */
export function referenceMessage(some: Partial<ReferenceMessage> & { readonly topic: string }): ReferenceMessage {
  const body = some.body ?? Buffer.from('body');
  const v6 = (some.bornHost?.address.length === 16 ? 0x10 : 0) | (some.storeHost?.address.length === 16 ? 0x20 : 0);
  return {
    magic: Buffer.byteLength(some.topic) > 127 ? MAGIC_V2 : MAGIC_V1,
    bodyCrc: crcOf(body) & 0x7fff_ffff,
    queueId: 0,
    flag: 0,
    queueOffset: 0n,
    physicalOffset: 0n,
    bornTimestamp: 1_700_000_000_000n,
    bornHost: LOCALHOST,
    storeTimestamp: 1_700_000_000_001n,
    storeHost: LOCALHOST,
    reconsumeTimes: 0,
    preparedTransactionOffset: 0n,
    properties: [],
    ...some,
    body,
    sysFlag: (some.sysFlag ?? 0) | v6,
  };
}

class Writer {
  readonly #pieces: Buffer[] = [];

  int(bytes: 1 | 2 | 4 | 8, value: number | bigint): this {
    const piece = Buffer.alloc(8);
    piece.writeBigUInt64BE(BigInt.asUintN(64, BigInt(value)));
    this.#pieces.push(piece.subarray(8 - bytes));
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.#pieces.push(Buffer.from(bytes));
    return this;
  }

  host({ address, port }: ReferenceHost): this {
    return this.bytes(Buffer.from(address)).int(4, port);
  }

  done(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

/** The message as it lies in a CommitLog file. */
export function writeMessage(message: ReferenceMessage): Buffer {
  const text = message.properties.map(([name, value]) => `${name}\u0001${value}\u0002`).join('');
  const topic = Buffer.from(message.topic);
  const properties = Buffer.from(text);
  const rest = new Writer()
    .int(4, message.magic)
    .int(4, message.bodyCrc)
    .int(4, message.queueId)
    .int(4, message.flag)
    .int(8, message.queueOffset)
    .int(8, message.physicalOffset)
    .int(4, message.sysFlag)
    .int(8, message.bornTimestamp)
    .host(message.bornHost)
    .int(8, message.storeTimestamp)
    .host(message.storeHost)
    .int(4, message.reconsumeTimes)
    .int(8, message.preparedTransactionOffset)
    .int(4, message.body.length)
    .bytes(message.body)
    .int(message.magic === MAGIC_V2 ? 2 : 1, topic.length)
    .bytes(topic)
    .int(2, properties.length)
    .bytes(properties)
    .done();
  return new Writer()
    .int(4, rest.length + 4)
    .bytes(rest)
    .done();
}

class Reader {
  readonly #bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  long(bytes: 1 | 2 | 4 | 8): bigint {
    let value = 0n;
    for (const byte of this.bytes(bytes)) value = (value << 8n) | BigInt(byte);
    return value;
  }

  int(bytes: 1 | 2 | 4): number {
    return Number(this.long(bytes));
  }

  bytes(count: number): Buffer {
    if (this.at + count > this.#bytes.length) throw new RangeError(`${count} bytes at ${this.at} are not there`);
    this.at += count;
    return this.#bytes.subarray(this.at - count, this.at);
  }

  host(isV6: boolean): ReferenceHost {
    return { address: [...this.bytes(isV6 ? 16 : 4)], port: this.int(4) };
  }
}

/** Reads the message at `at`. @throws Error when a length or the checksum is wrong. */
export function readMessage(bytes: Buffer, at: number): ReferenceMessage & { readonly sizeBytes: number } {
  const reader = new Reader(bytes, at);
  const sizeBytes = reader.int(4);
  const magic = reader.int(4);
  if (magic !== MAGIC_V1 && magic !== MAGIC_V2) throw new Error(`magic ${magic.toString(16)} at ${at}`);
  const bodyCrc = reader.int(4);
  const queueId = reader.int(4);
  const flag = reader.int(4);
  const queueOffset = reader.long(8);
  const physicalOffset = reader.long(8);
  const sysFlag = reader.int(4);
  const bornTimestamp = reader.long(8);
  const bornHost = reader.host((sysFlag & 0x10) !== 0);
  const storeTimestamp = reader.long(8);
  const storeHost = reader.host((sysFlag & 0x20) !== 0);
  const reconsumeTimes = reader.int(4);
  const preparedTransactionOffset = reader.long(8);
  const body = reader.bytes(reader.int(4));
  if ((crcOf(body) & 0x7fff_ffff) !== bodyCrc) throw new Error(`body checksum at ${at}`);
  const topic = reader.bytes(reader.int(magic === MAGIC_V2 ? 2 : 1)).toString();
  const text = reader.bytes(reader.int(2)).toString();
  const properties = text.split('\u0002').slice(0, -1);
  if (properties.map((one) => `${one}\u0002`).join('') !== text) throw new Error(`properties at ${at} end openly`);
  if (reader.at !== at + sizeBytes) throw new Error(`the message at ${at} ends at ${reader.at}, not ${at + sizeBytes}`);
  return {
    sizeBytes,
    magic,
    bodyCrc,
    queueId,
    flag,
    queueOffset,
    physicalOffset,
    sysFlag,
    bornTimestamp,
    bornHost,
    storeTimestamp,
    storeHost,
    reconsumeTimes,
    preparedTransactionOffset,
    body,
    topic,
    properties: properties.map((one) => one.split('\u0001') as [string, string]),
  };
}

/** Java's String.hashCode. */
export function javaHash(text: string): number {
  let hash = 0n;
  for (let at = 0; at < text.length; at++) hash = (31n * hash + BigInt(text.charCodeAt(at))) & 0xffff_ffffn;
  return Number(BigInt.asIntN(32, hash));
}

/** One unit of a ConsumeQueue. */
export interface ReferenceUnit {
  readonly offset: bigint;
  readonly sizeBytes: number;
  readonly tagsCode: bigint;
}

export function writeUnit({ offset, sizeBytes, tagsCode }: ReferenceUnit): Buffer {
  return new Writer().int(8, offset).int(4, sizeBytes).int(8, tagsCode).done();
}

/** All units of a file up to the first that was never written. */
export function readUnits(bytes: Buffer): ReferenceUnit[] {
  const units: ReferenceUnit[] = [];
  const reader = new Reader(bytes, 0);
  while (reader.at + 20 <= bytes.length) {
    const offset = reader.long(8);
    const sizeBytes = reader.int(4);
    const tagsCode = BigInt.asIntN(64, reader.long(8));
    if (sizeBytes === 0) break;
    units.push({ offset, sizeBytes, tagsCode });
  }
  return units;
}

/** An entry of a DLedger data file: header and body, or the filler that closes the file. */
export interface ReferenceEntry {
  readonly magic: number;
  readonly index: bigint;
  readonly term: bigint;
  readonly position: bigint;
  readonly body: Buffer;
}

/** As DLedger writes it: both checksums are left 0. */
export function writeEntry({ magic, index, term, position, body }: ReferenceEntry): Buffer {
  return new Writer()
    .int(4, magic)
    .int(4, 48 + body.length)
    .int(8, index)
    .int(8, term)
    .int(8, position)
    .int(4, 0)
    .int(4, 0)
    .int(4, 0)
    .int(4, body.length)
    .bytes(body)
    .done();
}

/** The entries of one data file, to its filler or to the first byte that was never written. */
export function readEntries(bytes: Buffer): { readonly entries: ReferenceEntry[]; readonly filler: number | null } {
  const entries: ReferenceEntry[] = [];
  const reader = new Reader(bytes, 0);
  while (reader.at + 8 <= bytes.length) {
    const start = reader.at;
    const magic = reader.int(4) | 0;
    const size = reader.int(4);
    if (magic === 0) break;
    if (magic === -1) {
      if (start + size !== bytes.length) throw new Error(`a filler of ${size} bytes at ${start}`);
      return { entries, filler: size };
    }
    const [index, term, position] = [reader.long(8), reader.long(8), reader.long(8)];
    reader.bytes(12);
    const body = reader.bytes(reader.int(4));
    if (reader.at - start !== size) throw new Error(`the entry at ${start} says ${size} bytes`);
    entries.push({ magic, index, term, position, body });
  }
  return { entries, filler: null };
}

/** One unit of DLedger's index: 32 bytes. */
export function readIndexUnits(
  bytes: Buffer,
): { magic: number; position: bigint; size: number; index: bigint; term: bigint }[] {
  const units = [];
  const reader = new Reader(bytes, 0);
  while (reader.at + 32 <= bytes.length) {
    const unit = {
      magic: reader.int(4),
      position: reader.long(8),
      size: reader.int(4),
      index: reader.long(8),
      term: reader.long(8),
    };
    if (unit.magic === 0) break;
    units.push(unit);
  }
  return units;
}

/** An IndexFile (10.4), read as RocketMQ looks keys up. */
export interface ReferenceIndexFile {
  readonly beginTimestamp: bigint;
  readonly endTimestamp: bigint;
  readonly beginOffset: bigint;
  readonly endOffset: bigint;
  readonly slotsUsed: number;
  /** Entries, and the unused first one. */
  readonly indexCount: number;
  /** Physical offsets under the hash of a key, newest first, with seconds since the begin timestamp. */
  find(key: string): { readonly offset: bigint; readonly seconds: number }[];
}

/** @param slots 5,000,000 in files of RocketMQ. */
export function readIndexFile(bytes: Buffer, slots: number): ReferenceIndexFile {
  const head = new Reader(bytes, 0);
  const [beginTimestamp, endTimestamp, beginOffset, endOffset] = [
    head.long(8),
    head.long(8),
    head.long(8),
    head.long(8),
  ];
  const slotsUsed = head.int(4);
  const indexCount = head.int(4);
  return {
    ...{ beginTimestamp, endTimestamp, beginOffset, endOffset, slotsUsed, indexCount },
    find(key) {
      const hash = Math.abs(javaHash(key));
      const found = [];
      // The absolute value of the smallest integer is negative in Java, and counts as 0.
      const wanted = hash === 2 ** 31 ? 0 : hash;
      let next = new Reader(bytes, 40 + 4 * (wanted % slots)).int(4);
      for (let steps = 0; next > 0; steps++) {
        if (steps > indexCount || next >= indexCount) throw new Error(`the chain of ${key} leads to ${next}`);
        const entry = new Reader(bytes, 40 + 4 * slots + 20 * next);
        const [keyHash, offset, seconds] = [entry.int(4), entry.long(8), entry.int(4)];
        if (keyHash === wanted) found.push({ offset, seconds });
        next = entry.int(4);
      }
      return found;
    },
  };
}
