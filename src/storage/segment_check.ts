// Checks a segment of the log byte by byte as it is copied: every record continues the chain of the one before, every body
// matches its checksum, the filler fills, zeros follow. Pure: pieces of any size go in, in order; nothing is read here.
//
//   records: header ─48 bytes─► body ─crc─► header … ─► a filler header ─► zeros up to the segment's end
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import {
  bodyCrcAt,
  bodySizeAt,
  chainCrcAt,
  magicAt,
  type PhysicalOffset,
  physicalOffset,
  positionAt,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import { logIndex } from '../raft/types.ts';
import type { LogTip } from './log_tip.ts';
import { FILLER_BYTES } from './segment.ts';
import { headerFault } from './verify.ts';

const ZEROS = Buffer.alloc(64 * 1024);

/** What is wrong, and where: the first record that is not what it should be. */
export interface SegmentFault {
  readonly position: PhysicalOffset;
  readonly reason: string;
}

/** The bytes of one segment from its first one on, up to the end or to a record that the caller knows. */
export class SegmentCheck {
  readonly #end: number;
  readonly #header = Buffer.alloc(RECORD_HEADER_BYTES);
  #headerBytes = 0;
  #bodyLeft = 0;
  #bodyCrc = 0;
  #state: 'header' | 'body' | 'closed' = 'header';
  /** Where the record begins that is being read, and the byte that comes next. */
  #recordAt: number;
  #at: number;
  #tip: LogTip;
  #fault: SegmentFault | null = null;
  #hasCleanPadding = true;
  #crc = 0;

  /**
   * @param before the last record before the segment.
   * @param start the segment's first position.
   * @param end the position behind its last byte.
   */
  constructor(before: LogTip, start: number, end: number) {
    assert(before.end <= start, 'a segment begins behind the record before it');
    this.#tip = before;
    this.#recordAt = start;
    this.#at = start;
    this.#end = end;
  }

  /** The last whole record so far. */
  get tip(): LogTip {
    return this.#tip;
  }

  /** The first thing that was wrong; what came behind it was not looked at. */
  get fault(): SegmentFault | null {
    return this.#fault;
  }

  /** The filler was there: no record follows. */
  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Where the filler's own bytes end: zeros from there on. Meaningless before the segment is closed. */
  get paddingAt(): number {
    return this.#recordAt + FILLER_BYTES;
  }

  /** Nothing but zeros lies behind the filler so far. */
  get hasCleanPadding(): boolean {
    return this.#hasCleanPadding;
  }

  /** The last byte so far ends a record. */
  get isBetweenRecords(): boolean {
    return this.#state === 'header' && this.#headerBytes === 0;
  }

  /** CRC-32 of all bytes so far, with zeros in the place of whatever lies behind the filler. */
  get crc(): number {
    return this.#crc;
  }

  /** The next bytes; they stay the caller's. Once there is a fault they are ignored. */
  feed(bytes: Buffer): void {
    assert(this.#at + bytes.length <= this.#end, 'a segment is not longer than it is');
    let at = 0;
    while (at < bytes.length && this.#fault === null) {
      if (this.#state === 'header') at += this.#feedHeader(bytes, at);
      else if (this.#state === 'body') at += this.#feedBody(bytes, at);
      else at += this.#feedPadding(bytes, at);
    }
  }

  #feedHeader(bytes: Buffer, at: number): number {
    const wanted = this.#headerBytes < FILLER_BYTES ? FILLER_BYTES : RECORD_HEADER_BYTES;
    const taken = Math.min(wanted - this.#headerBytes, bytes.length - at);
    bytes.copy(this.#header, this.#headerBytes, at, at + taken);
    this.#headerBytes += taken;
    this.#pass(bytes, at, taken);
    const room = this.#end - this.#recordAt;
    if (this.#headerBytes === FILLER_BYTES) {
      if (magicAt(this.#header, 0) === recordMagic.filler && sizeAt(this.#header, 0) === room) this.#state = 'closed';
      else if (room < RECORD_HEADER_BYTES + FILLER_BYTES) this.#fail('no record, and no filler either');
    } else if (this.#headerBytes === RECORD_HEADER_BYTES) {
      this.#beginBody(room);
    }
    return taken;
  }

  #beginBody(room: number): void {
    const { index, term, chainCrc } = this.#tip;
    const fault = headerFault(this.#header, 0, room - FILLER_BYTES, index, term, chainCrc);
    if (fault !== null) return this.#fail(fault);
    if (positionAt(this.#header, 0) !== this.#recordAt) return this.#fail('wrong position');
    this.#bodyLeft = bodySizeAt(this.#header, 0);
    this.#bodyCrc = 0;
    this.#state = 'body';
    if (this.#bodyLeft === 0) this.#endRecord();
  }

  #feedBody(bytes: Buffer, at: number): number {
    const taken = Math.min(this.#bodyLeft, bytes.length - at);
    this.#bodyCrc = crc32(bytes, at, at + taken, this.#bodyCrc);
    this.#bodyLeft -= taken;
    this.#pass(bytes, at, taken);
    if (this.#bodyLeft === 0) this.#endRecord();
    return taken;
  }

  #endRecord(): void {
    if (this.#bodyCrc !== bodyCrcAt(this.#header, 0)) return this.#fail('the body does not match its checksum');
    this.#tip = {
      index: logIndex(this.#tip.index + 1),
      term: termAt(this.#header, 0),
      chainCrc: chainCrcAt(this.#header, 0),
      start: physicalOffset(this.#recordAt),
      end: physicalOffset(this.#at),
    };
    this.#recordAt = this.#at;
    this.#headerBytes = 0;
    this.#state = 'header';
  }

  #feedPadding(bytes: Buffer, at: number): number {
    const taken = Math.min(ZEROS.length, bytes.length - at);
    if (ZEROS.compare(bytes, at, at + taken, 0, taken) !== 0) this.#hasCleanPadding = false;
    this.#pass(ZEROS, 0, taken);
    return taken;
  }

  #pass(bytes: Buffer, at: number, count: number): void {
    this.#crc = crc32(bytes, at, at + count, this.#crc);
    this.#at += count;
  }

  #fail(reason: string): void {
    this.#fault = { position: physicalOffset(this.#recordAt), reason };
  }
}
