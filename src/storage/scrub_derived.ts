// What each record of the log says must lie elsewhere: its unit in the log index, and for a message the unit in its queue.
import { hasProducerStamp, locateParts, newParts, PRODUCER_STAMP_BYTES } from '../format/message.ts';
import { locateFindable, newFindableParts, tagHashIn } from '../format/message_keys.ts';
import { MESSAGE_QUEUE_ID_AT, MESSAGE_QUEUE_OFFSET_AT } from '../format/message_layout.ts';
import {
  indexAt,
  magicAt,
  type PhysicalOffset,
  RECORD_HEADER_BYTES,
  recordMagic,
  sizeAt,
  termAt,
} from '../format/record.ts';
import { isParkedAt } from '../format/record_flags.ts';
import { isUint64Safe, readUint64 } from '../format/uint64.ts';
import { encodeUnit, queueFilePath, UNIT_BYTES, UNITS_PER_FILE } from './consume_queue.ts';
import { encodeIndexUnit, INDEX_UNIT_BYTES, INDEX_UNITS_PER_FILE, indexFileName } from './log_index.ts';
import type { Pace } from './scrub_pace.ts';
import type { Finding, ScrubTarget } from './scrub_types.ts';
import { ExpectedUnits, type Mismatch, type UnitStream } from './scrub_units.ts';

/** How much was looked at. */
export interface RecordCounts {
  readonly records: number;
  readonly bytes: number;
  /** Units of queues. */
  readonly messages: number;
}

interface QueueStream {
  readonly topic: string;
  readonly queueId: number;
  readonly units: UnitStream;
}

/** Takes verified records, checks what is derived from each. */
export class RecordUnits {
  readonly #target: ScrubTarget;
  readonly #onFinding: (finding: Finding) => void;
  readonly #expected: ExpectedUnits;
  readonly #index: UnitStream;
  readonly #queues = new Map<string, (QueueStream | null | undefined)[]>();
  readonly #queueOf = new Map<UnitStream, QueueStream>();
  readonly #parts = newParts();
  readonly #found = newFindableParts();
  readonly #record = { index: 0, position: 0, sizeBytes: 0, term: 0 };
  /** The topic of the message before: most follow one of the same. */
  #topic = { name: '', bytes: Buffer.alloc(0), queues: [] as (QueueStream | null | undefined)[] };
  #records = 0;
  #bytes = 0;
  #messages = 0;

  constructor(target: ScrubTarget, pace: Pace, onFinding: (finding: Finding) => void) {
    this.#target = target;
    this.#onFinding = onFinding;
    this.#expected = new ExpectedUnits(target.disk, pace, target.rewritesUnits === true);
    const unitsPerFile = target.indexUnitsPerFile ?? INDEX_UNITS_PER_FILE;
    this.#index = this.#expected.stream({
      unitBytes: INDEX_UNIT_BYTES,
      unitsPerFile,
      pathOf: (number) => `${target.directory}/index/${indexFileName(number, unitsPerFile)}`,
    });
  }

  get counts(): RecordCounts {
    return { records: this.#records, bytes: this.#bytes, messages: this.#messages };
  }

  /** The verified record at `at`, which lies at `position` of the log. */
  add(buffer: Buffer, at: number, position: number): void {
    const record = this.#record;
    record.index = indexAt(buffer, at);
    record.position = position;
    record.sizeBytes = sizeAt(buffer, at);
    record.term = termAt(buffer, at);
    this.#records++;
    this.#bytes += record.sizeBytes;
    const { unitsUpTo } = this.#target;
    if (unitsUpTo === undefined || record.index <= unitsUpTo.logIndex) {
      const unitAt = this.#index.place(record.index - 1);
      encodeIndexUnit(this.#index.bytes, unitAt, record);
    }
    if (unitsUpTo !== undefined && record.index > unitsUpTo.queues) return;
    if (magicAt(buffer, at) !== recordMagic.message || isParkedAt(buffer, at)) return;
    this.#addMessage(buffer, at, position, record.sizeBytes);
  }

  /** Compares when enough was gathered. */
  async compareIfFull(): Promise<void> {
    if (this.#expected.isFull) await this.compare();
  }

  /** Compares what was gathered with the files. */
  async compare(): Promise<void> {
    for (const mismatch of await this.#expected.compare()) this.#judge(mismatch);
  }

  #addMessage(buffer: Buffer, at: number, position: number, sizeBytes: number): void {
    const messageAt = at + RECORD_HEADER_BYTES;
    const parts = this.#parts;
    if (!locateParts(buffer, messageAt, at + sizeBytes, parts)) return;
    if (!isUint64Safe(buffer, messageAt + MESSAGE_QUEUE_OFFSET_AT)) return;
    const queue = this.#queueFor(buffer, messageAt);
    if (queue === null) return;
    const { units } = queue;
    const unitAt = units.place(readUint64(buffer, messageAt + MESSAGE_QUEUE_OFFSET_AT));
    const stampBytes = hasProducerStamp(buffer, parts) ? PRODUCER_STAMP_BYTES : 0;
    locateFindable(buffer, parts.propertiesStart, parts.propertiesEnd - stampBytes, this.#found);
    const tagHash = tagHashIn(buffer, this.#found);
    const physicalOffset = (position + RECORD_HEADER_BYTES) as PhysicalOffset;
    encodeUnit(units.bytes, unitAt, physicalOffset, sizeBytes - RECORD_HEADER_BYTES, tagHash);
    this.#messages++;
  }

  #queueFor(buffer: Buffer, messageAt: number): QueueStream | null {
    const { topicStart, topicEnd } = this.#parts;
    if (this.#topic.bytes.compare(buffer, topicStart, topicEnd) !== 0) {
      const name = buffer.toString('utf8', topicStart, topicEnd);
      const queues = this.#queues.get(name) ?? [];
      this.#queues.set(name, queues);
      this.#topic = { name, bytes: Buffer.from(buffer.subarray(topicStart, topicEnd)), queues };
    }
    const { name: topic, queues } = this.#topic;
    const queueId = buffer.readUInt32BE(messageAt + MESSAGE_QUEUE_ID_AT);
    const known = queues[queueId];
    if (known !== undefined) return known;
    const made = this.#target.queueMin(topic, queueId) === null ? null : this.#streamOf(topic, queueId);
    queues[queueId] = made;
    return made;
  }

  #streamOf(topic: string, queueId: number): QueueStream {
    const units = this.#expected.stream({
      unitBytes: UNIT_BYTES,
      unitsPerFile: UNITS_PER_FILE,
      pathOf: (number) => `${this.#target.directory}/consumequeue/${queueFilePath(topic, queueId, number)}`,
    });
    const queue = { topic, queueId, units };
    this.#queueOf.set(units, queue);
    return queue;
  }

  /** What was cut meanwhile is no damage. */
  #judge({ stream, path: file, number, reason, isMended }: Mismatch): void {
    const found = { kind: 'derived', file, isMended } as const;
    const queue = this.#queueOf.get(stream);
    if (queue === undefined) {
      if (number + 1 <= this.#target.base().index) return;
      this.#onFinding({ ...found, what: 'log index', reason: `${reason} (record ${number + 1})` });
      return;
    }
    const { topic, queueId } = queue;
    const min = this.#target.queueMin(topic, queueId);
    if (min === null || number < min) return;
    const which = `offset ${number} of queue ${queueId} of topic ${topic}`;
    this.#onFinding({ ...found, what: 'consume queue', reason: `${reason} (${which})` });
  }
}
