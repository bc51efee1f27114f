// A log without Raft under a broker: batches are admitted, sealed and appended to one endless buffer, and applied in
// whatever pieces a test likes. Crashes take the process, and with it what was not flushed.

import { TLedgerError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { Broker } from '../../src/broker/broker.ts';
import type { BrokerLimits } from '../../src/broker/limits.ts';
import type { BrokerOptions } from '../../src/broker/options.ts';
import type { Admission, AppendResult, PackedAppend, PullResult } from '../../src/broker/types.ts';
import { encodeMembership } from '../../src/format/membership.ts';
import {
  decodeMessageRecord,
  encodeMessageRecord,
  type OutgoingMessage,
  queueOffset,
  type StoredMessage,
} from '../../src/format/message.ts';
import {
  blankRecord,
  chainCrcAt,
  physicalOffset,
  RECORD_HEADER_BYTES,
  recordMagic,
  sealRecord,
  sizeAt,
} from '../../src/format/record.ts';
import { logIndex, type Membership, term } from '../../src/raft/types.ts';
import type { ColdLog } from '../../src/storage/cold_reads.ts';
import type { KeyIndexLayout } from '../../src/storage/key_index_file.ts';
import { EMPTY_TIP, type LogTip } from '../../src/storage/log_tip.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import type { StateStore } from '../../src/storage/state_store.ts';

export const START_MS = 1_700_000_000_000;
export const PRODUCER_A = 'a0a0a0a0a0a0a0a1';
export const PRODUCER_B = 'b0b0b0b0b0b0b0b2';
export const GROUP_DIRECTORY = '/group';
export const DIRECTORY = `${GROUP_DIRECTORY}/consumequeue`;
export const KEY_DIRECTORY = `${GROUP_DIRECTORY}/keyindex`;

/** One message with defaults. */
export function message(some: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return { topic: 'T', queueId: 0, body: Buffer.from('body'), bornAtMs: START_MS, ...some };
}

/** A batch of messages with the bodies given, all for one queue. */
export function batch(
  bodies: readonly string[],
  some: Partial<Omit<PackedAppend, 'records'>> & { readonly tag?: string } = {},
): PackedAppend {
  const { topic = 'T', queueId = 0, producerId = '', sequence = 1, tag } = some;
  const records = bodies.map((body) => encodeMessageRecord(message({ topic, queueId, body: Buffer.from(body), tag })));
  return { topic, queueId, producerId, sequence, records: Buffer.concat(records) };
}

/** A membership of voters whose addresses are made of their names. */
export function membership(...voters: string[]): Membership {
  const addresses = voters.map((id) => [id, { peer: `${id}.test:1`, client: `${id}.test:2` }]);
  return { voters: voters.sort(), outgoing: [], learners: [], addresses: Object.fromEntries(addresses) };
}

/** The log of a group of one, with record boundaries. */
export class FakeLog {
  bytes = Buffer.alloc(0);
  /** Start of each record by index; index 0 does not exist. */
  readonly starts: number[] = [-1];
  readonly segmentSizeBytes: number;
  /** What lies at or before it cannot be read any more. */
  base: LogTip = EMPTY_TIP;
  reads: { readonly position: number; readonly sizeBytes: number }[] = [];
  #end = 0;
  #chain = 0;

  constructor(segmentSizeBytes = 1 << 20) {
    this.segmentSizeBytes = segmentSizeBytes;
  }

  get lastIndex(): number {
    return this.starts.length - 1;
  }

  get end(): number {
    return this.#end;
  }

  /** Position after the record `index`. */
  endOf(index: number): number {
    return index === 0 ? 0 : this.starts[index]! + sizeAt(this.bytes, this.starts[index]!);
  }

  tipAt(index: number): LogTip {
    if (index === 0) return EMPTY_TIP;
    const start = this.starts[index]!;
    const chainCrc = chainCrcAt(this.bytes, start);
    return {
      index: logIndex(index),
      term: term(1),
      chainCrc,
      start: physicalOffset(start),
      end: physicalOffset(this.endOf(index)),
    };
  }

  /** The records of this log up to `lastIndex`, held by another replica, which has those above `base` only. */
  replica(base = 0, lastIndex = this.lastIndex): FakeLog {
    const log = new FakeLog(this.segmentSizeBytes);
    log.bytes = Buffer.from(this.bytes);
    log.starts.push(...this.starts.slice(1, lastIndex + 1));
    log.#end = this.endOf(lastIndex);
    log.#chain = this.tipAt(lastIndex).chainCrc;
    log.base = this.tipAt(base);
    return log;
  }

  /** Seals and appends unsealed records, closing segments with fillers. @returns the index of the first one. */
  append(records: Buffer): number {
    const first = this.starts.length;
    for (let at = 0; at < records.length; ) {
      const size = sizeAt(records, at);
      this.#roll(size);
      const index = logIndex(this.starts.length);
      const place = { index, term: term(1), position: physicalOffset(this.#end), prevChain: this.#chain };
      this.#chain = sealRecord(records, at, place);
      this.starts.push(this.#end);
      this.#write(records.subarray(at, at + size));
      at += size;
    }
    return first;
  }

  readonly read = (position: number, sizeBytes: number): Buffer => {
    this.reads.push({ position, sizeBytes });
    const segment = (at: number) => Math.floor(at / this.segmentSizeBytes);
    if (segment(position) !== segment(position + sizeBytes - 1)) throw new Error('a read crosses a segment');
    if (position < this.base.end) throw new TLedgerError('DATA_CORRUPTED', 'a read begins before the log');
    if (position + sizeBytes > this.#end) throw new TLedgerError('DATA_CORRUPTED', 'a read passes the end of the log');
    return Buffer.from(this.bytes.subarray(position, position + sizeBytes));
  };

  /** The record that begins at a position; null when none does. */
  recordAt(position: number): { buffer: Buffer; start: number; end: number } | null {
    const index = this.starts.indexOf(position);
    if (index < 1 || position < this.base.end) return null;
    return { buffer: this.bytes, start: position, end: this.endOf(index) };
  }

  #roll(size: number): void {
    const left = this.segmentSizeBytes - (this.#end % this.segmentSizeBytes);
    // A filler needs its 8 bytes, so a record never leaves fewer.
    if (size === left || size + 8 <= left) return;
    const filler = Buffer.alloc(left);
    filler.writeInt32BE(recordMagic.filler, 0);
    filler.writeUInt32BE(left, 4);
    this.#write(filler);
  }

  #write(bytes: Buffer): void {
    if (this.#end + bytes.length > this.bytes.length) {
      this.bytes = Buffer.concat([this.bytes], Math.max(2 * this.bytes.length, this.#end + bytes.length, 1 << 16));
    }
    bytes.copy(this.bytes, this.#end);
    this.#end += bytes.length;
  }
}

/** A leader's broker over a fake log, a memory disk and a memory store. */
export class Harness {
  log: FakeLog;
  readonly disk: MemoryDisk;
  readonly medium: MemoryStateMedium;
  readonly limits: Partial<BrokerLimits>;
  readonly coldLog: ColdLog | undefined;
  readonly damageAt: BrokerOptions['damageAt'];
  /** Undefined: messages cannot be found by key. */
  keyLayout: KeyIndexLayout | undefined;
  /** What the broker warned of, over all openings. */
  readonly warnings: string[] = [];
  nowMs = START_MS;
  broker!: Broker;
  snapshots!: SnapshotStore;

  constructor(some: {
    readonly log?: FakeLog;
    readonly disk?: MemoryDisk;
    readonly medium?: MemoryStateMedium;
    readonly limits?: Partial<BrokerLimits>;
    readonly coldLog?: ColdLog;
    readonly damageAt?: BrokerOptions['damageAt'];
    readonly keyLayout?: KeyIndexLayout;
  }) {
    this.log = some.log ?? new FakeLog();
    this.disk = some.disk ?? new MemoryDisk();
    this.medium = some.medium ?? new MemoryStateMedium();
    this.limits = some.limits ?? {};
    this.coldLog = some.coldLog;
    this.damageAt = some.damageAt;
    this.keyLayout = some.keyLayout;
  }

  /** A leading broker with topic T of `queues` queues; with 0 no topic. */
  static async start(some: ConstructorParameters<typeof Harness>[0] & { readonly queues?: number } = {}) {
    const harness = new Harness(some);
    await harness.open();
    harness.broker.startLeading();
    if (some.queues !== 0) harness.createTopic('T', some.queues ?? 4);
    return harness;
  }

  /** Opens a new broker on what disk and store hold, without applying anything. */
  async open(store: StateStore = new MemoryStateStore(this.medium)): Promise<void> {
    this.snapshots = SnapshotStore.open({ disk: this.disk, directory: GROUP_DIRECTORY });
    this.broker = await Broker.open({
      disk: this.disk,
      directory: DIRECTORY,
      store,
      snapshots: this.snapshots,
      base: this.log.base,
      readLog: (position, sizeBytes) => this.log.read(position, sizeBytes),
      ...(this.coldLog === undefined ? {} : { coldLog: this.coldLog }),
      ...(this.damageAt === undefined ? {} : { damageAt: this.damageAt }),
      segmentSizeBytes: this.log.segmentSizeBytes,
      limits: this.limits,
      keyIndex: this.keyLayout && {
        directory: KEY_DIRECTORY,
        layout: this.keyLayout,
        endOf: (index) => physicalOffset(this.log.endOf(index)),
        recordAt: (position) => this.log.recordAt(position),
      },
      lastIndex: logIndex(this.log.lastIndex),
      onWarning: (message) => this.warnings.push(message),
    });
  }

  /** Power loss: what was not flushed is gone. Opens again and applies the log up to `upTo`. */
  async crash(seed: number, upTo = this.log.lastIndex): Promise<void> {
    this.disk.crash({ mode: 'sectors', random: new SeededRandom(seed) });
    this.medium.crash();
    await this.open();
    this.applyTo(upTo);
  }

  createTopic(name: string, queues: number): void {
    const proposal = this.broker.proposeTopic(name, queues, this.nowMs);
    if (proposal.kind === 'exists') throw new Error(`${name} exists`);
    this.log.append(blankRecord(recordMagic.command, proposal.body));
    this.applyTo();
  }

  /** Appends a membership record; applies nothing. @returns its index. */
  membership(membership: Membership): number {
    return this.log.append(blankRecord(recordMagic.membership, encodeMembership(membership)));
  }

  /** Takes the snapshot of what is applied. @returns its bytes. */
  async snapshot(): Promise<Buffer> {
    const index = this.broker.appliedIndex;
    await this.broker.takeSnapshot(this.log.tipAt(index));
    return this.snapshotBytes(index);
  }

  snapshotBytes(index: number): Buffer {
    return this.disk.bytes(snapshotPath(index));
  }

  /** Cuts the log to a snapshot, then the broker. */
  cutTo(index: number): void {
    this.log.base = this.log.tipAt(index);
    const snapshot = this.snapshots.open(logIndex(index));
    this.broker.cut(snapshot);
    snapshot.close();
  }

  /** Puts a snapshot that another replica took on this disk, as if it had arrived. */
  async receive(index: number, bytes: Buffer): Promise<void> {
    await this.snapshots.appendIncoming(logIndex(index), term(1), 0, bytes);
    if (!this.snapshots.completeIncoming(logIndex(index), term(1))) throw new Error('the snapshot is not complete');
  }

  noop(): void {
    this.log.append(blankRecord(recordMagic.noop, Buffer.alloc(0)));
  }

  /** Admits a batch and appends what is to be appended; applies nothing. */
  admit(request: PackedAppend): Admission {
    const firstIndex = logIndex(this.log.lastIndex + 1);
    const admission = this.broker.admit(request, { firstIndex, nowMs: this.nowMs });
    if (admission.kind === 'append') this.log.append(request.records.subarray(admission.start, admission.end));
    return admission;
  }

  /** Admits, appends and applies. */
  append(request: PackedAppend): AppendResult {
    const { result } = this.admit(request);
    this.applyTo();
    return result;
  }

  /** Applies the log up to `index`, in one call. */
  applyTo(index = this.log.lastIndex): void {
    if (index <= this.broker.appliedIndex) return;
    const start = this.log.endOf(this.broker.appliedIndex);
    this.broker.apply(this.log.bytes, start, this.log.endOf(index));
  }

  pull(queueId: number, offset: number, countMax = 1_000, bytesMax = 1 << 22, topic = 'T'): PullResult {
    return this.broker.pull({ topic, queueId, offset: queueOffset(offset), countMax, bytesMax });
  }

  /** Bodies of all messages of a queue. */
  bodies(queueId: number, topic = 'T'): string[] {
    const { min, max } = this.broker.range(topic, queueId);
    const found: string[] = [];
    for (let next = min; next < max; ) {
      const result = this.pull(queueId, next, 1_000, 1 << 22, topic);
      found.push(...messagesOf(result).map((stored) => stored.body.toString()));
      next = result.nextOffset;
    }
    return found;
  }
}

/** The messages of a result, decoded. */
export function messagesOf(result: PullResult): StoredMessage[] {
  const messages: StoredMessage[] = [];
  for (let at = 0; at < result.records.length; ) {
    const end = at + sizeAt(result.records, at);
    const decoded = decodeMessageRecord(result.records, at, end);
    if (decoded === undefined) throw new Error(`no message at byte ${at}`);
    messages.push(decoded);
    at = end;
  }
  return messages;
}

/** Where the snapshot at `index` lies. */
export function snapshotPath(index: number): string {
  return `${GROUP_DIRECTORY}/snapshot/${String(index).padStart(20, '0')}`;
}

/** The code of what `run` throws; 'none' when it returns. */
export function codeOf(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).name;
  }
}

export { RECORD_HEADER_BYTES };
