// ConsumeQueues: where the messages of each queue lie in the log (ROCKETMQ_GRPC.md 10.3). One unit a message, written at
// queueOffset * 20, so that projecting the same record twice writes the same bytes to the same place.
//
//   0                8      12               20
//   +----------------+------+----------------+     physical offset: where the message (the record's body) begins, that
//   | physical offset| size | tag hash       |     is the record's position + 48; size: bytes of the message;
//   +----------------+------+----------------+     tag hash: Java's string hash, sign-extended, 0 without a tag
//
// Files: <directory>/<topic>/<queueId>/<20-digit byte offset of the first unit>, 300,000 units each. In directory names
// `|` becomes `+` (which no topic name has) and the rest of the alphabet %a-zA-Z0-9_- stands for itself, so different
// topics have different directories, no longer than their names, and no name can lead anywhere else.
import { assert } from '../base/assert.ts';
import type { QueueOffset } from '../format/message.ts';
import type { PhysicalOffset } from '../format/record.ts';
import { readUint32, writeUint32 } from '../format/uint32.ts';
import { readUint64, writeUint64 } from '../format/uint64.ts';
import type { Disk } from './disk.ts';
import { GatheredUnits, type UnitHolder } from './gathered_units.ts';
import { OpenFiles } from './open_files.ts';

export const UNIT_BYTES = 20;
export const UNITS_PER_FILE = 300_000;
const FILE_BYTES = UNIT_BYTES * UNITS_PER_FILE;
const FILE_NAME_DIGITS = 20;

const SIZE_AT = 8;
const TAG_HASH_AT = 12;
const SIGN_BITS = 31;

/** Units that a queue gathers before it writes them: its buffer begins small and doubles. */
const PENDING_BYTES_MIN = 16 * UNIT_BYTES;
const PENDING_BYTES_MAX = 512 * UNIT_BYTES;
const NO_UNITS: Buffer = Buffer.alloc(0);
/** Queues written at a time before what they wrote is flushed: thousands at once would let nobody else get a turn. */
const WRITTEN_AT_ONCE = 16;

/** Where the message of the unit at `at` begins. */
export const unitPhysicalOffset = (units: Buffer, at: number): PhysicalOffset =>
  readUint64(units, at) as PhysicalOffset;
/** Bytes of the message of the unit at `at`. */
export const unitSizeBytes = (units: Buffer, at: number): number => readUint32(units, at + SIZE_AT);

/** Writes a unit: 20 bytes. */
export function encodeUnit(
  target: Buffer,
  at: number,
  physicalOffset: PhysicalOffset,
  sizeBytes: number,
  tagHash: number,
): void {
  writeUint64(target, physicalOffset, at);
  writeUint32(target, sizeBytes, at + SIZE_AT);
  writeUint32(target, tagHash >> SIGN_BITS, at + TAG_HASH_AT);
  writeUint32(target, tagHash, at + TAG_HASH_AT + 4);
}

/** The file of that number of a queue, below the group's `consumequeue` directory. */
export function queueFilePath(topic: string, queueId: number, number: number): string {
  return `${topicDirectory(topic)}/${queueId}/${nameOf(number * FILE_BYTES)}`;
}

/** Name of the directory of a topic. @throws InvariantError for a name that the topic alphabet does not allow. */
export function topicDirectory(topic: string): string {
  assert(/^[%|a-zA-Z0-9_-]{1,127}$/.test(topic), () => `not a topic name: ${JSON.stringify(topic)}`);
  return topic.replaceAll('|', '+');
}

/** All consume queues of a group: they share open files, room for units that are not written yet, and the flush. */
export class ConsumeQueues {
  readonly #directory: string;
  readonly #files: OpenFiles;
  readonly #gathered = new GatheredUnits();

  /** @param options.openFilesMax bound of open files, at least 8. */
  constructor(options: { readonly disk: Disk; readonly directory: string; readonly openFilesMax: number }) {
    this.#directory = options.directory;
    this.#files = new OpenFiles(options.disk, options.openFilesMax);
  }

  /** The queue's files, of which offsets [min, max) are valid; what lies after max is left over and will be overwritten. */
  queue(topic: string, queueId: number, range: { readonly min: QueueOffset; readonly max: QueueOffset }): ConsumeQueue {
    const directory = `${this.#directory}/${topicDirectory(topic)}/${queueId}`;
    return new ConsumeQueue({ files: this.#files, gathered: this.#gathered, directory, ...range });
  }

  /** Writes all units that were appended to the page cache, for whoever looks at the files. What fails may be tried again. */
  write(): void {
    for (const queue of this.#gathered.unwritten) queue.write();
  }

  /** Makes all units durable that were appended before the call. A failure is final. */
  async flush(): Promise<void> {
    const queues = this.#gathered.unwritten;
    do {
      for (const queue of queues.splice(0, WRITTEN_AT_ONCE)) queue.write();
      await this.#files.flush();
    } while (queues.length > 0);
  }

  close(): void {
    this.#files.close();
  }
}

/** One queue's units. Appended ones are gathered in memory, where they are read until they are written. */
export class ConsumeQueue implements UnitHolder {
  readonly #files: OpenFiles;
  readonly #gathered: GatheredUnits;
  readonly #directory: string;
  #min: QueueOffset;
  #max: QueueOffset;
  /** Begins with the units before #max that are not in the file yet. */
  #pending = NO_UNITS;
  #pendingBytes = 0;
  #fileStart = -1;
  #filePath = '';

  constructor(options: {
    readonly files: OpenFiles;
    readonly gathered: GatheredUnits;
    readonly directory: string;
    readonly min: QueueOffset;
    readonly max: QueueOffset;
  }) {
    assert(options.min >= 0 && options.min <= options.max, 'a queue ends where it begins or later');
    this.#files = options.files;
    this.#gathered = options.gathered;
    this.#directory = options.directory;
    this.#min = options.min;
    this.#max = options.max;
  }

  /** First offset that is kept. */
  get min(): QueueOffset {
    return this.#min;
  }

  /** Offset of the next message. */
  get max(): QueueOffset {
    return this.#max;
  }

  /** Whether it has units that are in no file yet. */
  get holdsUnits(): boolean {
    return this.#pendingBytes > 0;
  }

  /** Adds the unit of the message with offset `max`. Queues may be written for it, this one or others. */
  append(physicalOffset: PhysicalOffset, sizeBytes: number, tagHash: number): void {
    if (this.#pendingBytes === this.#pending.length) this.#makeRoom();
    encodeUnit(this.#pending, this.#pendingBytes, physicalOffset, sizeBytes, tagHash);
    this.#pendingBytes += UNIT_BYTES;
    this.#max = (this.#max + 1) as QueueOffset;
  }

  /** Writes what was appended to the page cache. */
  write(): void {
    const end = this.#max * UNIT_BYTES;
    let done = 0;
    while (done < this.#pendingBytes) {
      const position = end - this.#pendingBytes + done;
      const within = position % FILE_BYTES;
      const length = Math.min(this.#pendingBytes - done, FILE_BYTES - within);
      this.#files.write(this.#pathOf(position - within), this.#pending.subarray(done, done + length), within);
      done += length;
    }
    this.#pendingBytes = 0;
  }

  /** Writes what was appended, and keeps no buffer. @returns the size of the one it had. */
  release(): number {
    this.write();
    const { length } = this.#pending;
    this.#pending = NO_UNITS;
    return length;
  }

  /**
   * Units of the offsets [offset, offset + count), which must lie in [min, max).
   * @throws TLedgerError DATA_CORRUPTED when a file is missing or too short.
   */
  read(offset: QueueOffset, count: number): Buffer {
    const units = this.#room(offset, count);
    const written = this.#takePending(offset, units);
    for (const { path, target, within } of this.#parts(offset, written)) this.#files.read(path, target, within);
    return units;
  }

  /** As `read`, without blocking: for offsets far from the end. The queue may be cut meanwhile. */
  async readAsync(offset: QueueOffset, count: number): Promise<Buffer> {
    const units = this.#room(offset, count);
    const written = this.#takePending(offset, units);
    for (const { path, target, within } of this.#parts(offset, written)) {
      await this.#files.readAsync(path, target, within);
    }
    return units;
  }

  /**
   * The last unit of a queue that is not empty, after a look at the end of each of its files.
   * @throws TLedgerError DATA_CORRUPTED when a file is missing or too short.
   */
  lastUnit(): Buffer {
    assert(this.#max > this.#min, 'only a queue with messages has a last unit');
    let unit: Buffer = Buffer.alloc(0);
    for (let next: number = this.#min; next < this.#max; ) {
      next = Math.min(this.#max, (Math.floor(next / UNITS_PER_FILE) + 1) * UNITS_PER_FILE);
      unit = this.read((next - 1) as QueueOffset, 1);
    }
    return unit;
  }

  /** The file that holds, or should hold, the unit of an offset. */
  fileOf(offset: QueueOffset): string {
    const position = offset * UNIT_BYTES;
    return this.#pathOf(position - (position % FILE_BYTES));
  }

  /** The messages before `min` are gone: their units are not read any more. */
  cut(min: QueueOffset): void {
    assert(min >= this.#min && min <= this.#max, 'a queue is cut within what it holds');
    this.#min = min;
  }

  /** Removes, durably, the files of which no unit can be read any more. Not while a flush is under way. */
  removeUnread(): void {
    for (const name of this.#files.list(this.#directory)) {
      if (Number(name) + FILE_BYTES <= this.#min * UNIT_BYTES) this.#files.remove(`${this.#directory}/${name}`);
    }
  }

  /** Makes durable what was appended; what other queues of the group wrote is flushed along. A failure is final. */
  flush(): Promise<void> {
    this.write();
    return this.#files.flush();
  }

  #room(offset: QueueOffset, count: number): Buffer {
    assert(
      offset >= this.#min && count >= 0 && offset + count <= this.#max,
      'only offsets that the queue holds are read',
    );
    return Buffer.allocUnsafe(count * UNIT_BYTES);
  }

  /** Copies those of the units from `offset` on that are not written yet. @returns room for the others, which come before. */
  #takePending(offset: QueueOffset, units: Buffer): Buffer {
    const pendingFrom = this.#max * UNIT_BYTES - this.#pendingBytes;
    const from = offset * UNIT_BYTES;
    const writtenBytes = Math.min(units.length, Math.max(0, pendingFrom - from));
    const at = from + writtenBytes - pendingFrom;
    if (writtenBytes < units.length) this.#pending.copy(units, writtenBytes, at, at + units.length - writtenBytes);
    return units.subarray(0, writtenBytes);
  }

  /** For one more unit. */
  #makeRoom(): void {
    const { length } = this.#pending;
    if (length === PENDING_BYTES_MAX) return this.write();
    const larger = Buffer.allocUnsafeSlow(Math.min(PENDING_BYTES_MAX, Math.max(PENDING_BYTES_MIN, 2 * length)));
    this.#pending.copy(larger);
    this.#pending = larger;
    this.#gathered.grew(this, larger.length - length);
  }

  /** Which parts of which files the units from `offset` on are. */
  *#parts(offset: QueueOffset, units: Buffer): Generator<{ path: string; target: Buffer; within: number }, void, void> {
    for (let done = 0; done < units.length; ) {
      const position = offset * UNIT_BYTES + done;
      const within = position % FILE_BYTES;
      const length = Math.min(units.length - done, FILE_BYTES - within);
      yield { path: this.#pathOf(position - within), target: units.subarray(done, done + length), within };
      done += length;
    }
  }

  #pathOf(fileStart: number): string {
    if (this.#fileStart !== fileStart) {
      this.#filePath = `${this.#directory}/${nameOf(fileStart)}`;
      this.#fileStart = fileStart;
    }
    return this.#filePath;
  }
}

function nameOf(fileStart: number): string {
  return String(fileStart).padStart(FILE_NAME_DIGITS, '0');
}
