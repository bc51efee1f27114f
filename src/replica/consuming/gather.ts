// Chooses what one pop gets, from the applied state: first what was decided for the same call before, whose answer was lost; then
// what came back; then what was never handed out. Reads the messages, since a filter may have to look at them and the consumer
// wants them.
import { TLedgerError } from '../../base/errors.ts';
import type { Broker } from '../../broker/broker.ts';
import type { Popped, PoppedAgain, QueuedMessage } from '../../broker/consuming/consume_command.ts';
import type { GroupInfo } from '../../broker/consuming/groups.ts';
import type { QueueProgress } from '../../broker/consuming/progress.ts';
import type { MessageFilter } from '../../broker/filter/filter.ts';
import { isWanted } from '../../broker/filter/record_filter.ts';
import type { TopicInfo } from '../../broker/types.ts';
import { queueOffset } from '../../format/message.ts';
import { sizeAt } from '../../format/record.ts';
import type { LeaderPort } from './port.ts';
import { consumingLimits, type PopRequest } from './types.ts';

/** A message chosen. */
export interface Chosen extends QueuedMessage {
  readonly attempt: number;
  readonly record: Buffer;
}

/** What one pop does. */
export interface Gathered {
  readonly chosen: readonly Chosen[];
  readonly popped: readonly Popped[];
  readonly again: readonly PoppedAgain[];
  /** Gone from the log, or not wanted any more. */
  readonly settled: readonly QueuedMessage[];
  /** Delivered as often as the group allows. */
  readonly buried: readonly Chosen[];
}

/** A message in flight that comes back. */
interface Returned extends QueuedMessage {
  readonly attempt: number;
  /** Handing it out counts as another attempt. */
  readonly isAttempt: boolean;
}

/** What earlier pops of the same step have taken, so that nothing is handed out twice. */
export class Taken {
  readonly #next = new Map<number, number>();
  readonly #offsets = new Set<string>();
  readonly #closed = new Set<number>();

  nextOf(queueId: number, next: number): number {
    return this.#next.get(queueId) ?? next;
  }

  advance(queueId: number, to: number): void {
    this.#next.set(queueId, to);
  }

  has(queueId: number, offset: number): boolean {
    return this.#offsets.has(`${queueId}/${offset}`);
  }

  add(queueId: number, offset: number): void {
    this.#offsets.add(`${queueId}/${offset}`);
  }

  /** Groups in order: the queue has given a batch in this step. */
  close(queueId: number): void {
    this.#closed.add(queueId);
  }

  isClosed(queueId: number): boolean {
    return this.#closed.has(queueId);
  }
}

/** Where `gather` looks. */
export interface GatherPlace {
  readonly broker: Broker;
  readonly readOne: LeaderPort['readOne'];
  readonly group: GroupInfo;
  readonly request: PopRequest;
  readonly filter: MessageFilter;
  readonly taken: Taken;
  /** Wall clock. */
  readonly nowMs: number;
  /** Queue to begin with, so that all get their turn. */
  readonly firstQueue: number;
}

/** @throws TLedgerError TOPIC_NOT_FOUND; what reading throws. Nothing is taken then that was not there before. */
export async function gather(place: GatherPlace): Promise<Gathered> {
  const gathering = new Gathering(place);
  const isInOrder = place.group.isFifo || place.request.lite !== undefined;
  await (isInOrder ? gathering.inOrder() : gathering.inAnyOrder());
  return gathering;
}

/** Whether something was decided for the same call before, and may not have been heard. */
export function isRepeat({ broker, request, nowMs }: Pick<GatherPlace, 'broker' | 'request' | 'nowMs'>): boolean {
  const queues = broker.tables.progress.get(request.group, request.topic)?.queues.values() ?? [];
  return [...queues].some((progress) => lostBy(request, progress, nowMs).length > 0);
}

function lostBy({ attemptId }: PopRequest, progress: QueueProgress | undefined, nowMs: number) {
  return attemptId === '' ? [] : (progress?.decidedFor(attemptId, nowMs) ?? []);
}

class Gathering implements Gathered {
  readonly chosen: Chosen[] = [];
  readonly popped: Popped[] = [];
  readonly again: PoppedAgain[] = [];
  readonly settled: QueuedMessage[] = [];
  readonly buried: Chosen[] = [];
  readonly #place: GatherPlace;
  readonly #untilMs: number;
  readonly #countMax: number;
  #bytesLeft: number;
  #scanLeft: number = consumingLimits.scanCountMax;

  constructor(place: GatherPlace) {
    this.#place = place;
    this.#untilMs = place.nowMs + place.request.invisibleMs;
    this.#countMax = Math.min(place.request.countMax, consumingLimits.popCountMax);
    this.#bytesLeft = place.request.bytesMax;
  }

  async inAnyOrder(): Promise<void> {
    for (const queueId of this.#queueIds()) await this.#takeLost(queueId);
    if (this.#topicOf().messageType !== 'priority') return this.#takeFrom(this.#queueIds());
    // A queue a priority: the highest has the highest number. What came back keeps its priority.
    for (let queueId = this.#topicOf().queues - 1; queueId >= 0 && !this.#isFull; queueId--) {
      await this.#takeFrom([queueId]);
    }
  }

  async #takeFrom(queueIds: readonly number[]): Promise<void> {
    const returned = this.#returned(queueIds);
    // What came back gets half of the room at first, so that neither keeps the other out.
    const share = Math.ceil((this.#countMax - this.chosen.length) / 2);
    await this.#takeReturned(returned.splice(0, share));
    for (const queueId of queueIds) {
      if (this.#isFull) return;
      const progress = this.#progressOf(queueId);
      if ((progress?.inFlight.size ?? 0) < consumingLimits.inFlightMax) await this.#takeNew(queueId, progress);
    }
    for (const one of returned) {
      if (this.#isFull) return;
      await this.#takeReturned([one]);
    }
  }

  /** What this very call was given before, and its consumer has said nothing of: it is no other delivery. */
  async #takeLost(queueId: number): Promise<void> {
    const { request, nowMs, taken } = this.#place;
    for (const [offset, { attempt }] of lostBy(request, this.#progressOf(queueId), nowMs)) {
      if (this.#isFull) return;
      if (!taken.has(queueId, offset)) await this.#takeAgain({ queueId, offset, attempt, isAttempt: false });
    }
  }

  async inOrder(): Promise<void> {
    for (const queueId of this.#queueIds()) {
      if (this.#isFull) return;
      if (this.#place.taken.isClosed(queueId)) continue;
      const before = this.chosen.length;
      const progress = this.#progressOf(queueId);
      if (progress === undefined || progress.inFlight.size === 0) await this.#takeNew(queueId, progress);
      else await this.#takeBatchAgain(queueId, progress);
      if (this.chosen.length > before || this.buried.length > 0) this.#place.taken.close(queueId);
    }
  }

  get #isFull(): boolean {
    return this.chosen.length >= this.#countMax || (this.chosen.length > 0 && this.#bytesLeft <= 0);
  }

  #progressOf(queueId: number): QueueProgress | undefined {
    const { broker, request } = this.#place;
    return broker.tables.progress.get(request.group, request.topic)?.queues.get(queueId);
  }

  #topicOf(): TopicInfo {
    const { broker, request } = this.#place;
    const topic = broker.topic(request.topic);
    if (topic === undefined) throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${request.topic} does not exist`);
    return topic;
  }

  #queueIds(): number[] {
    const { broker, request, firstQueue } = this.#place;
    const { queues } = this.#topicOf();
    const wanted =
      request.lite?.flatMap((name) => broker.tables.lite.queueOf(request.topic, name) ?? []) ??
      Array.from({ length: queues }, (_, queueId) => queueId);
    return wanted.map((_, at) => wanted[(firstQueue + at) % wanted.length]!);
  }

  /** Whose invisible time is over, the longest ago first. */
  #returned(queueIds: readonly number[]): Returned[] {
    const { taken, nowMs } = this.#place;
    const found: (Returned & { readonly untilMs: number })[] = [];
    for (const queueId of queueIds) {
      for (const [offset, { attempt, untilMs, isGivenBack }] of this.#progressOf(queueId)?.returned(nowMs) ?? []) {
        if (!taken.has(queueId, offset)) found.push({ queueId, offset, attempt, isAttempt: !isGivenBack, untilMs });
      }
    }
    return found.sort((a, b) => a.untilMs - b.untilMs);
  }

  async #takeReturned(returned: readonly Returned[]): Promise<void> {
    for (const one of returned) await this.#takeAgain(one);
  }

  /** The batch in flight of a queue in order: handed out again when its first message came back, or to the same call. */
  async #takeBatchAgain(queueId: number, progress: QueueProgress): Promise<void> {
    const { request, nowMs, taken } = this.#place;
    const inFlight = [...progress.inFlight].filter(([offset]) => !taken.has(queueId, offset));
    const batch = inFlight.sort(([a], [b]) => a - b);
    if (batch.length === 0) return;
    const isBack = batch[0]![1].untilMs <= nowMs;
    const isSameCall = request.attemptId !== '' && request.attemptId === batch[0]![1].attemptId;
    if (!isBack && !isSameCall) return;
    for (const [offset, { attempt, isGivenBack }] of batch) {
      if (this.#isFull) break;
      await this.#takeAgain({ queueId, offset, attempt, isAttempt: isBack && !isGivenBack });
    }
  }

  async #takeAgain({ queueId, offset, attempt, isAttempt }: Returned): Promise<void> {
    const { group, request, filter, taken, readOne } = this.#place;
    taken.add(queueId, offset);
    const record = await readOne(request.topic, queueId, offset);
    if (record === null || !isWanted(record, filter)) {
      this.settled.push({ queueId, offset });
      return;
    }
    if (isAttempt && attempt >= group.attemptsMax) {
      this.buried.push({ queueId, offset, attempt, record });
      return;
    }
    const { attemptId } = request;
    this.again.push({ queueId, offset, untilMs: this.#untilMs, isAttempt, attemptId });
    this.#choose({ queueId, offset, attempt: isAttempt ? attempt + 1 : attempt, record });
  }

  /** Messages that were never handed out; what the filter leaves out is passed over for good. */
  async #takeNew(queueId: number, progress: QueueProgress | undefined): Promise<void> {
    const { broker, request, filter, taken } = this.#place;
    const from = taken.nextOf(queueId, progress?.next ?? 0);
    const { min, max } = broker.range(request.topic, queueId);
    const offsets: number[] = [];
    let next = Math.max(from, min);
    while (next < max && !this.#isFull && this.#scanLeft > 0) {
      const countMax = Math.min(this.#scanLeft, filter.takesAll ? this.#countMax - this.chosen.length : 64);
      const bytesMax = Math.max(1, this.#bytesLeft);
      const place = { topic: request.topic, queueId, offset: queueOffset(next) };
      const page = await broker.read({ ...place, countMax, bytesMax }).catch(nullIfCut);
      if (page === null) {
        // Retention was here in between.
        next = Math.max(next, broker.range(request.topic, queueId).min);
        continue;
      }
      const { records, count } = page;
      if (count === 0) break;
      this.#scanLeft -= count;
      for (let at = 0; at < records.length && !this.#isFull; next++) {
        const record = records.subarray(at, at + sizeAt(records, at));
        at += record.length;
        if (!isWanted(record, filter)) continue;
        offsets.push(next);
        this.#choose({ queueId, offset: next, attempt: 1, record });
      }
    }
    if (next === from) return;
    taken.advance(queueId, next);
    this.popped.push({ queueId, from, to: next, offsets, untilMs: this.#untilMs, attemptId: request.attemptId });
  }

  #choose(one: Chosen): void {
    this.chosen.push(one);
    this.#bytesLeft -= one.record.length;
  }
}

function nullIfCut(error: unknown): null {
  if (error instanceof TLedgerError && error.code === 'OFFSET_OUT_OF_RANGE') return null;
  throw error;
}
