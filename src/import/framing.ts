// How messages stand in the files of a log: bare in RocketMQ's own, inside of entries in DLedger's. Both close a file
// with a blank and leave zeros behind the last record.

import { MESSAGE_BODY_AT } from '../format/message_layout.ts';
import {
  bodySizeAt,
  indexAt,
  magicAt,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import {
  BLANK_HEADER_BYTES,
  BLANK_MAGIC,
  isMessageMagic,
  ROCKETMQ_RECORD_BYTES_MAX,
  type RocketMqMessage,
  readRocketMqMessage,
} from '../format/rocketmq.ts';
import { isUint64Safe } from '../format/uint64.ts';

/** Where a look begins. */
export interface Place {
  /** Bytes `[at, end)` are at hand. */
  readonly at: number;
  readonly end: number;
  /** Physical offset of `at`. */
  readonly position: number;
  /** Bytes up to the beginning of the next file, as its name has it. */
  readonly room: number;
  /** Bytes up to the end of this file: fewer when it was cut short, or when the next one is missing. */
  readonly fileRoom: number;
}

/** What stands at a place. */
export type Found =
  | { readonly kind: 'message'; readonly sizeBytes: number; readonly message: RocketMqMessage }
  /** An entry without a message. */
  | { readonly kind: 'other'; readonly sizeBytes: number }
  /** The rest of the file is blank: so many bytes, whether they are there or not. */
  | { readonly kind: 'blank'; readonly sizeBytes: number }
  /** Zeros: nothing was ever written, or what was is lost. */
  | { readonly kind: 'nothing' }
  /** So many bytes from `at` on are needed to tell. */
  | { readonly kind: 'more'; readonly sizeBytes: number }
  | { readonly kind: 'bad'; readonly reason: string };

/** Reads one kind of files. It remembers what the next entry has to continue. */
export interface Framing {
  look(buffer: Buffer, place: Place): Found;
  /** The record at `at`, which was found there, is taken: the next one has to continue it. */
  took(buffer: Buffer, at: number): void;
  /**
   * The first place from `from` on, before `end`, where a record may begin, by a few of its bytes; -1 if there is none.
   * Records that begin within the last `searchMarginBytes` of a piece are found in the next one.
   */
  search(buffer: Buffer, from: number, end: number): number;
  readonly searchMarginBytes: number;
  /** What was read last is not continued: something is missing. */
  lost(): void;
  /** Index of the last entry; null where records have none. */
  readonly lastIndex: number | null;
}

const NOTHING: Found = { kind: 'nothing' };
const bad = (reason: string): Found => ({ kind: 'bad', reason });
const blank = (sizeBytes: number, { room, fileRoom }: Place): Found => {
  if (sizeBytes === room || sizeBytes === fileRoom) return { kind: 'blank', sizeBytes };
  return bad(`is a blank of ${sizeBytes} bytes where ${room} are left`);
};
const more = (sizeBytes: number): Found => ({ kind: 'more', sizeBytes });

/** The three bytes that both magics of a message begin with. */
const MAGIC_START = Buffer.from([0xda, 0xa3, 0x20]);

function searchMagic(buffer: Buffer, from: number, end: number, magicAtBytes: number): number {
  for (let at = Math.max(0, from + magicAtBytes); ; at++) {
    at = buffer.indexOf(MAGIC_START, at);
    if (at < 0 || at + 4 > end) return -1;
    if (isMessageMagic(buffer, at)) return at - magicAtBytes;
  }
}

/** RocketMQ's own files. */
export class RocketMqFraming implements Framing {
  readonly searchMarginBytes = BLANK_HEADER_BYTES;
  readonly lastIndex = null;

  look(buffer: Buffer, place: Place): Found {
    const { at, end, position, room } = place;
    if (room < BLANK_HEADER_BYTES) return bad(`leaves ${room} bytes where ${BLANK_HEADER_BYTES} are kept for a blank`);
    if (end - at < BLANK_HEADER_BYTES) return more(BLANK_HEADER_BYTES);
    const size = buffer.readUInt32BE(at);
    const magic = buffer.readInt32BE(at + 4);
    if (size === 0 && magic === 0) return NOTHING;
    if (magic === BLANK_MAGIC) return blank(size, place);
    if (!isMessageMagic(buffer, at + 4)) return bad(`has the unknown magic ${hex(magic)}`);
    if (size < MESSAGE_BODY_AT || size > ROCKETMQ_RECORD_BYTES_MAX) return bad(`says that it has ${size} bytes`);
    if (size > room) return bad(`says that it has ${size} bytes where ${room} are left in the file`);
    if (end - at < size) return more(size);
    const message = readRocketMqMessage(buffer, at, at + size);
    if (typeof message === 'string') return bad(message);
    if (message.physicalOffset !== position) return bad(`says that it lies at ${message.physicalOffset}`);
    return { kind: 'message', sizeBytes: size, message };
  }

  search(buffer: Buffer, from: number, end: number): number {
    return searchMagic(buffer, from, end, 4);
  }

  took(): void {}

  lost(): void {}
}

/** DLedger's data files: the header of record.ts, whose checksums DLedger leaves zero. */
export class DLedgerFraming implements Framing {
  readonly searchMarginBytes = RECORD_HEADER_BYTES + BLANK_HEADER_BYTES;
  #index: number | null = null;
  #term = 0;
  #isContinued = false;

  get lastIndex(): number | null {
    return this.#index;
  }

  look(buffer: Buffer, place: Place): Found {
    const { at, end, position, room } = place;
    if (room < BLANK_HEADER_BYTES) return bad(`leaves ${room} bytes where ${BLANK_HEADER_BYTES} are kept for a blank`);
    if (end - at < BLANK_HEADER_BYTES) return more(BLANK_HEADER_BYTES);
    const magic = magicAt(buffer, at);
    const size = sizeAt(buffer, at);
    if (magic === 0 && size === 0) return NOTHING;
    if (magic === recordMagic.filler) return blank(size, place);
    if (magic < recordMagic.message || magic > recordMagic.membership)
      return bad(`has the unknown magic ${hex(magic)}`);
    if (size < RECORD_HEADER_BYTES || size > RECORD_HEADER_BYTES + ROCKETMQ_RECORD_BYTES_MAX) {
      return bad(`says that it has ${size} bytes`);
    }
    if (size > room) return bad(`says that it has ${size} bytes where ${room} are left in the file`);
    if (end - at < size) return more(size);
    const flaw = this.#flaw(buffer, at, position);
    if (flaw !== undefined) return bad(flaw);
    const message = magic === recordMagic.message ? this.#message(buffer, at, size, position) : undefined;
    if (typeof message === 'string') return bad(`holds a message that ${message}`);
    return message === undefined ? { kind: 'other', sizeBytes: size } : { kind: 'message', sizeBytes: size, message };
  }

  search(buffer: Buffer, from: number, end: number): number {
    return searchMagic(buffer, from, end, RECORD_HEADER_BYTES + 4);
  }

  took(buffer: Buffer, at: number): void {
    this.#index = indexAt(buffer, at);
    this.#term = termAt(buffer, at);
    this.#isContinued = true;
  }

  lost(): void {
    this.#isContinued = false;
    this.#term = 0;
  }

  #message(buffer: Buffer, at: number, size: number, position: number): RocketMqMessage | string {
    const message = readRocketMqMessage(buffer, at + RECORD_HEADER_BYTES, at + size);
    if (typeof message === 'string' || message.physicalOffset === position + RECORD_HEADER_BYTES) return message;
    return `says that it lies at ${message.physicalOffset}`;
  }

  #flaw(buffer: Buffer, at: number, position: number): string | undefined {
    if (bodySizeAt(buffer, at) + RECORD_HEADER_BYTES !== sizeAt(buffer, at))
      return 'has sizes that contradict each other';
    if (![8, 16, 24].every((field) => isUint64Safe(buffer, at + field))) return 'has a number above 2^53';
    if (positionAt(buffer, at) !== position) return `says that it lies at ${positionAt(buffer, at)}`;
    if (!this.#isContinued) return undefined;
    const index = indexAt(buffer, at);
    if (index !== this.#index! + 1) return `has index ${index} behind ${this.#index}`;
    return termAt(buffer, at) < this.#term ? `has term ${termAt(buffer, at)} behind ${this.#term}` : undefined;
  }
}

function hex(magic: number): string {
  return `0x${(magic >>> 0).toString(16).padStart(8, '0')}`;
}
