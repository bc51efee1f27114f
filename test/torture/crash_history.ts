// One small random history of a replica: it leads and follows, is truncated, rolls, checkpoints, votes, takes snapshots and
// is cut, receives and installs snapshots, and is opened again. Everybody else is one healthy replica that loses nothing.
import { type Random, SeededRandom } from '../../src/base/random.ts';
import { encodeMembership } from '../../src/format/membership.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { installSnapshot } from '../../src/replica/install.ts';
import type { OpenGroup } from '../../src/replica/open_group.ts';
import {
  applyTo,
  type CrashPoint,
  delayFlushes,
  type Known,
  knownOfNothing,
  MemoryDisk,
  MemoryStateMedium,
  openReplica,
  recordCrashPoints,
  recordsOf,
  type Version,
} from './crash_replica.ts';

const START_MS = 1_700_000_000_000;
const OPERATIONS = 24;
const BODY_BYTES_MAX = 260;
const TOPICS = ['orders', 'bills'];
const QUEUES = 2;
const BATCH_MAX = 3;
const members = { peer: 'n0.test:1', client: 'n0.test:2' };

/** What came of a history. */
export interface PlayedHistory {
  readonly points: readonly CrashPoint[];
  /** How often each kind of operation was done. */
  readonly done: ReadonlyMap<string, number>;
}

/** Plays the history of a seed to its end. */
export async function playHistory(seed: number): Promise<PlayedHistory> {
  const player = new Player(new SeededRandom(seed), seed);
  return await player.play();
}

class Player {
  readonly #random: Random;
  readonly #disk = new MemoryDisk();
  readonly #medium = new MemoryStateMedium();
  readonly #known: Known = knownOfNothing();
  readonly #done = new Map<string, number>();
  #mine!: OpenGroup;
  #others!: OpenGroup;
  #term = 1;
  #isLeading = false;
  /** The last record that both hold: everything that the others hold is committed. */
  #agreed = 0;
  /** What was kept, of each. */
  readonly #truncations: number[] = [];
  #clockMs = START_MS;
  #pending: Promise<unknown>[] = [];

  constructor(random: Random, seed: number) {
    this.#random = random;
    delayFlushes(this.#disk, seed);
  }

  async play(): Promise<PlayedHistory> {
    const points = recordCrashPoints(this.#disk, this.#medium, this.#known);
    this.#mine = await openReplica(this.#disk, this.#medium);
    this.#others = await openReplica(new MemoryDisk(), new MemoryStateMedium());
    this.#others.broker.startLeading();
    this.#othersAppend();
    const operations: readonly [string, () => unknown][] = [
      ['append as leader', () => this.#appendAsLeader()],
      ['append as leader', () => this.#appendAsLeader()],
      ['commit', () => this.#commit()],
      ['follow', () => this.#follow()],
      ['follow', () => this.#follow()],
      ['follow', () => this.#follow()],
      ['flush', () => this.#flush()],
      ['flush beside others', () => void this.#pending.push(this.#flush())],
      ['apply', () => this.#apply()],
      ['checkpoint', () => this.#checkpoint()],
      ['checkpoint beside others', () => void this.#pending.push(this.#checkpoint())],
      ['vote', () => this.#vote(null)],
      ['cut', () => this.#snapshotAndCut()],
      ['cut', () => this.#snapshotAndCut()],
      ['cut', () => this.#snapshotAndCut()],
      ['receive and install a snapshot', () => this.#install()],
      ['lead', () => this.#lead()],
      ['step down', () => this.#stepDown()],
      ['open again', () => this.#reopen()],
    ];
    for (let count = 0; count < OPERATIONS; count++) {
      const [name, act] = pick(this.#random, operations);
      if ((await act()) !== false) this.#done.set(name, (this.#done.get(name) ?? 0) + 1);
    }
    await this.#settle();
    this.#disk.onOperation = null;
    points.push({ kind: 'end', path: '', disk: this.#disk, medium: this.#medium, known: { ...this.#known } });
    return { points, done: this.#done };
  }

  get #present(): Version {
    return this.#known.versions.at(-1)!;
  }

  #each(change: (version: Version) => Partial<Version>): void {
    this.#known.versions = this.#known.versions.map((version) => ({ ...version, ...change(version) }));
  }

  #appendAsLeader(): unknown {
    if (!this.#isLeading) return this.#lead();
    this.#appendSome(this.#mine);
    return this.#noteAppended();
  }

  #noteAppended(): void {
    const { timeline } = this.#present;
    timeline.push(...recordsOf(this.#mine, timeline.length + 1));
  }

  /** Messages of one queue, or a topic, a membership or a no-op. */
  #appendSome(group: OpenGroup): void {
    const kind = this.#random.between(0, 9);
    const at = ++this.#clockMs;
    if (kind === 0) {
      const proposal = group.broker.proposeTopic(`t${at % 97}`, QUEUES, at);
      if (proposal.kind === 'command') this.#seal(group, blankRecord(recordMagic.command, proposal.body));
      return;
    }
    if (kind === 1) {
      const membership = { voters: ['n0'], outgoing: [], learners: [], addresses: { n0: members } };
      return this.#seal(group, blankRecord(recordMagic.membership, encodeMembership(membership)));
    }
    if (kind === 2) return this.#seal(group, blankRecord(recordMagic.noop, Buffer.alloc(0)));
    const topic = pick(this.#random, TOPICS);
    const queueId = this.#random.between(0, QUEUES - 1);
    const records = Array.from({ length: this.#random.between(1, BATCH_MAX) }, () => {
      const body = Buffer.alloc(this.#random.between(1, BODY_BYTES_MAX), at % 251);
      return encodeMessageRecord({ topic, queueId, body, bornAtMs: at, tag: 'a', keys: [`k${at % 5}`] });
    });
    const batch = Buffer.concat(records);
    const request = { topic, queueId, producerId: '', sequence: 1, records: batch };
    const place = { firstIndex: logIndex(group.log.lastIndex + 1), nowMs: at };
    const admission = group.broker.admit(request, place);
    if (admission.kind !== 'append') return;
    group.log.appendBlank(batch, admission.start, admission.end, term(this.#term));
  }

  #seal(group: OpenGroup, record: Buffer): void {
    group.log.appendBlank(record, 0, record.length, term(this.#term));
  }

  /** The others have got something new; the topics come first. */
  #othersAppend(): void {
    const others = this.#others;
    if (others.log.lastIndex === 0) {
      for (const topic of TOPICS) {
        const proposal = others.broker.proposeTopic(topic, QUEUES, START_MS);
        if (proposal.kind === 'command') this.#seal(others, blankRecord(recordMagic.command, proposal.body));
        applyTo(others, others.log.lastIndex);
      }
    }
    this.#appendSome(others);
    applyTo(others, others.log.lastIndex);
  }

  /** What was appended as leader is flushed here, and taken by the others. */
  async #commit(): Promise<unknown> {
    if (!this.#isLeading) return false;
    await this.#flush();
    this.#send(this.#mine, this.#others, this.#mine.log.flushedIndex);
    applyTo(this.#others, this.#others.log.lastIndex);
    this.#agree(this.#others.log.lastIndex);
    return this.#apply();
  }

  #agree(index: number): void {
    this.#agreed = index;
    this.#each(({ timeline }) => (timeline === this.#present.timeline ? { committed: index } : {}));
  }

  #send(from: OpenGroup, to: OpenGroup, last: number): void {
    while (to.log.lastIndex < last) {
      const first = logIndex(to.log.lastIndex + 1);
      const fitting = from.log.fit(first, this.#random.between(1, 900)).lastIndex;
      const { buffer, start, end } = from.log.read(first, logIndex(Math.min(last, fitting)));
      const copy = Buffer.from(buffer.subarray(start, end));
      to.log.appendSealed(copy, 0, copy.length);
    }
  }

  #follow(): unknown {
    if (this.#isLeading) return this.#stepDown();
    for (let count = this.#random.between(1, 3); count > 0; count--) this.#othersAppend();
    this.#send(this.#others, this.#mine, this.#others.log.lastIndex - this.#random.between(0, 1));
    this.#noteAppended();
    this.#agree(this.#mine.log.lastIndex);
    return true;
  }

  async #flush(): Promise<void> {
    const begun = this.#truncations.length;
    const flushed = await this.#mine.log.flush();
    // It may be heard of when what it vouches for was truncated.
    const index = Math.min(flushed.index, ...this.#truncations.slice(begun));
    this.#each((version) => ({ flushed: Math.max(version.flushed, index) }));
    // What was truncated before the flush began can't come back, unless there was nothing to flush.
    if (begun === this.#truncations.length && index > (this.#truncations.at(-1) ?? 0))
      this.#known.versions = [this.#present];
  }

  #apply(): void {
    const { log, broker } = this.#mine;
    const end = Math.min(this.#agreed, log.lastIndex);
    if (end > broker.appliedIndex) applyTo(this.#mine, this.#random.between(broker.appliedIndex + 1, end));
  }

  async #checkpoint(): Promise<void> {
    const stored = this.#mine.broker.checkpoint().then((index) => {
      this.#known.stored = Math.max(this.#known.stored, index);
    });
    await Promise.all([stored, this.#mine.log.advanceCheckpoint()]);
  }

  #vote(who: string | null): void {
    const state = { term: term(++this.#term), vote: who };
    this.#known.hardStates = [...this.#known.hardStates.slice(-1), state];
    this.#mine.hardState.save(state);
    this.#known.hardStates = [state];
    this.#isLeading = false;
    this.#mine.broker.stopLeading();
    this.#truncateRest();
    this.#othersLead();
  }

  #othersLead(): void {
    const { broker } = this.#others;
    broker.stopLeading();
    broker.startLeading();
  }

  /** What only this replica holds goes: another one leads. */
  #truncateRest(): void {
    const { log } = this.#mine;
    if (log.lastIndex <= this.#agreed) return;
    const keep = this.#agreed;
    this.#truncations.push(keep);
    this.#each(({ flushed }) => ({ flushed: Math.min(flushed, keep) }));
    const timeline = this.#present.timeline.slice(0, keep);
    this.#known.versions = [...this.#known.versions, { ...this.#present, timeline }];
    log.truncateAfter(logIndex(keep));
    this.#done.set('truncate', (this.#done.get('truncate') ?? 0) + 1);
  }

  async #lead(): Promise<unknown> {
    if (this.#isLeading) return false;
    this.#send(this.#others, this.#mine, this.#others.log.lastIndex);
    this.#noteAppended();
    this.#agree(this.#mine.log.lastIndex);
    await this.#flush();
    applyTo(this.#mine, this.#mine.log.lastIndex);
    this.#vote('n0');
    this.#others.broker.stopLeading();
    this.#mine.broker.startLeading();
    this.#isLeading = true;
    this.#seal(this.#mine, blankRecord(recordMagic.noop, Buffer.alloc(0)));
    this.#noteAppended();
    return true;
  }

  #stepDown(): unknown {
    if (!this.#isLeading) return false;
    this.#vote(null);
    this.#seal(this.#others, blankRecord(recordMagic.noop, Buffer.alloc(0)));
    applyTo(this.#others, this.#others.log.lastIndex);
    return true;
  }

  /** A snapshot where a segment ends, and the log cut there. */
  async #snapshotAndCut(): Promise<unknown> {
    const { log, broker, snapshots } = this.#mine;
    const boundary = log.sealedBoundaries.findLast((at) => at < this.#agreed);
    if (boundary === undefined || boundary < broker.appliedIndex) return false;
    if (log.flushedIndex <= boundary) await this.#flush();
    applyTo(this.#mine, boundary);
    await broker.takeSnapshot(log.tipAt(boundary));
    this.#known.snapshots = [boundary];
    this.#known.stored = Math.max(this.#known.stored, boundary);
    if (boundary >= Math.min(log.lastIndex, this.#agreed)) return true;
    applyTo(this.#mine, boundary + 1);
    if (log.boundaryBelow(broker.appliedIndex) !== boundary) return true;
    const before = this.#known.versions;
    this.#known.versions = [...before, ...before.map((version) => ({ ...version, base: boundary }))];
    log.cutTo(boundary);
    this.#known.versions = before.map((version) => ({ ...version, base: boundary }));
    const snapshot = snapshots.open(boundary);
    broker.cut(snapshot);
    snapshot.close();
    for (const older of snapshots.list()) if (older < boundary) snapshots.remove(older);
    return true;
  }

  /** The others are so far ahead that they send a snapshot. */
  async #install(): Promise<unknown> {
    await this.#settle();
    if (this.#isLeading) this.#stepDown();
    const [mine, others] = [this.#mine, this.#others];
    while (others.log.lastIndex < mine.log.lastIndex + 1) this.#othersAppend();
    const closed = others.log.sealedBoundaries.length;
    while (others.log.sealedBoundaries.length === closed) {
      this.#appendSome(others);
      if (others.log.sealedBoundaries.length === closed) applyTo(others, others.log.lastIndex);
    }
    const boundary = others.log.sealedBoundaries.at(-1)!;
    // A batch over the end of a segment is applied up to that end first.
    if (others.broker.appliedIndex > boundary) return false;
    applyTo(others, boundary);
    const tip = others.log.tipAt(boundary);
    await others.log.flush();
    await others.broker.takeSnapshot(tip);
    applyTo(others, others.log.lastIndex);
    const snapshot = others.snapshots.open(boundary);
    try {
      for (let offset = 0; offset < snapshot.sizeBytes; ) {
        const { buffer, start, end } = snapshot.read(offset, this.#random.between(20, 700));
        const progress = await mine.snapshots.appendIncoming(boundary, tip.term, offset, buffer.subarray(start, end));
        offset = progress.sizeBytes;
      }
    } finally {
      snapshot.close();
    }
    const timeline = recordsOf(others, 1, boundary);
    const after: Version = { base: boundary, timeline, flushed: boundary, committed: boundary };
    const now = this.#known.versions;
    this.#known.snapshots = [];
    this.#known.stored = 0;
    this.#known.versions = [...now, after];
    await installSnapshot({ ...mine, point: { index: boundary, term: tip.term } });
    this.#known.versions = [after];
    this.#known.snapshots = [boundary];
    this.#known.stored = boundary;
    this.#agreed = boundary;
    return true;
  }

  async #reopen(): Promise<unknown> {
    await this.#settle();
    if (this.#isLeading) this.#stepDown();
    await this.#mine.close();
    this.#known.versions = [{ ...this.#present, flushed: this.#mine.log.lastIndex }];
    this.#mine = await openReplica(this.#disk, this.#medium);
    return true;
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#pending.splice(0));
  }
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.between(0, from.length - 1)]!;
}
