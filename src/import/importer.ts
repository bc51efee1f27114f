// From a store into a group: one pass over the log, each message into the lane of its queue. See README.md here for what
// happens when either side fails.
import { createHash } from 'node:crypto';
import { TLedgerError } from '../base/errors.ts';
import type { TLedgerClient } from '../client/client.ts';
import { checkTopicName } from '../format/limits.ts';
import { type CarryingOptions, carry, leaveByTopic } from './carrying.ts';
import { readTopics, type TopicConfig } from './config_files.ts';
import { Lane } from './lane.ts';
import { sizeOf } from './layout.ts';
import { ProgressFile } from './progress_file.ts';
import type { SourceMessage } from './scanner.ts';
import { Sender } from './sender.ts';
import type { Source } from './source.ts';
import { Tally } from './tally.ts';

/** How an import goes. */
export interface ImportOptions extends CarryingOptions {
  readonly skipDamaged: boolean;
  /** Append to queues that hold messages of others. */
  readonly merge: boolean;
  /** 16 hex digits; made from the store's first message when undefined. */
  readonly storeId?: string | undefined;
  readonly progressFile: string;
  /** Topic -> number of queues, where the store does not say or says too little. */
  readonly queues: ReadonlyMap<string, number>;
  /** How long one frame may take, failovers included. */
  readonly sendTimeoutMs: number;
  readonly signal: AbortSignal;
}

/** How far it has come. */
export interface ImportProgress {
  bytesRead: number;
  readonly bytesTotal: number;
  appended: number;
  alreadyThere: number;
}

/** Messages of a store that are under way to the group, or wait. */
const HELD_BYTES_MAX = 32 * 1_048_576;
const LANES_MAX = 8;
const SAVE_INTERVAL_MS = 1_000;
/** How long frames under way may take after an interruption. */
const INTERRUPTED_MS = 2_000;
/** Digits of a store's id. */
const STORE_ID_DIGITS = 16;

/** Bytes that a pass will read, as far as can be told before: the last file is mostly empty. */
export function bytesTotalOf({ layout, ends }: Source): number {
  const start = layout.areas[0]?.files[0]?.start ?? 0;
  return ends.endPosition === null ? sizeOf(layout) : Math.min(sizeOf(layout), Math.max(1, ends.endPosition - start));
}

/** Counts what is there. Takes no group. @throws TLedgerError as `Source.read` and `carry`. */
export async function survey(
  source: Source,
  options: CarryingOptions & { readonly skipDamaged: boolean; readonly signal: AbortSignal },
  progress: ImportProgress,
): Promise<Tally> {
  const tally = new Tally();
  for await (const event of source.read(options.skipDamaged)) {
    if (options.signal.aborted) break;
    if (event.kind === 'damage') tally.damage(event.damage);
    else if (event.kind === 'torn') tally.torn.push(event.end);
    else {
      progress.bytesRead = event.bytesRead;
      for (const one of event.messages) {
        const carrying = carry(one, '0'.repeat(STORE_ID_DIGITS), options);
        if (carrying.kind === 'carry') tally.carry(one.message);
        else tally.leave(carrying.reason, one.message, carrying.detail);
      }
    }
  }
  return tally;
}

/** The id of a store: what its first message is, wherever it lies. Null when it has none. */
export async function storeIdOf(source: Source): Promise<string | null> {
  for await (const event of source.read(true)) {
    const first = event.kind === 'messages' ? event.messages[0] : undefined;
    if (first === undefined) continue;
    const { message, buffer } = first;
    const bytes = buffer.subarray(message.propertiesEnd - message.sizeBytes, message.propertiesEnd);
    return createHash('sha256').update(bytes).digest('hex').slice(0, STORE_ID_DIGITS);
  }
  return null;
}

/** One import. */
export class Importer {
  readonly tally = new Tally();
  readonly progress: ImportProgress;
  readonly #source: Source;
  readonly #client: TLedgerClient;
  readonly #options: ImportOptions;
  readonly #storeId: string;
  readonly #file: ProgressFile;
  readonly #sender: Sender;
  readonly #topics: ReadonlyMap<string, TopicConfig>;
  readonly #lanes = new Map<string, Lane[]>();
  readonly #ranges = new Map<string, readonly { readonly min: number; readonly max: number }[]>();
  readonly #hurry = new AbortController();
  #savedAtMs = 0;

  private constructor(
    source: Source,
    client: TLedgerClient,
    options: ImportOptions,
    storeId: string,
    file: ProgressFile,
  ) {
    this.#source = source;
    this.#client = client;
    this.#options = options;
    this.#storeId = storeId;
    this.#file = file;
    this.#topics = readTopics(source.layout.configDirectory) ?? new Map();
    this.progress = { bytesRead: 0, bytesTotal: bytesTotalOf(source), appended: 0, alreadyThere: 0 };
    this.#sender = new Sender({
      lanesMax: LANES_MAX,
      bytesMax: HELD_BYTES_MAX,
      timeoutMs: options.sendTimeoutMs,
      signal: this.#hurry.signal,
      onAppended: (_, frame) => {
        this.progress.appended += frame.records.length;
        this.#saveNowAndThen();
      },
    });
  }

  /** Gets to know the group and what an earlier run left. @throws TLedgerError */
  static async open(source: Source, client: TLedgerClient, options: ImportOptions, storeId: string): Promise<Importer> {
    const { cluster, group } = await client.admin.metadata();
    const file = ProgressFile.open(options.progressFile, { storeId, cluster, group });
    return new Importer(source, client, options, storeId, file);
  }

  /**
   * Carries everything over. Ends early, without an error, when the signal is aborted; what was sent is in the group then.
   * @throws TLedgerError; what was acknowledged until then is remembered, and the same import may be begun again.
   */
  async run(): Promise<void> {
    const { signal } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const hurry = () => {
      timer = setTimeout(() => this.#hurry.abort(), INTERRUPTED_MS);
    };
    signal.addEventListener('abort', hurry, { once: true });
    try {
      await this.#carryAll();
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await this.#sender.stop();
      signal.removeEventListener('abort', hurry);
      clearTimeout(timer);
      this.save();
    }
  }

  async #carryAll(): Promise<void> {
    for (const [topic, config] of this.#topics) {
      const isWanted = leaveByTopic(topic, this.#options) === undefined && !config.isBrokers && isLegal(topic);
      if (isWanted && config.queues > 0) await this.#ensureTopic(topic);
    }
    for await (const event of this.#source.read(this.#options.skipDamaged)) {
      if (event.kind === 'damage') this.tally.damage(event.damage);
      else if (event.kind === 'torn') this.tally.torn.push(event.end);
      else {
        for (const one of event.messages) if (!this.#takeNow(one)) await this.#take(one);
        await this.#sender.room();
        this.progress.bytesRead = event.bytesRead;
      }
      if (this.#options.signal.aborted) return;
    }
    await this.#sender.drain();
  }

  /** Writes the progress file. */
  save(): void {
    const states = new Map(Object.entries(this.#file.lanes));
    for (const [topic, lanes] of this.#lanes) {
      const queues = { ...states.get(topic) };
      for (const lane of lanes) if (lane !== undefined) queues[lane.queue] = lane.state;
      states.set(topic, queues);
    }
    this.#file.save(Object.fromEntries(states));
    this.#savedAtMs = Date.now();
  }

  /** The lane of a queue, if anything was carried over to it, now or in an earlier run. */
  lane(topic: string, queue: number): Lane | undefined {
    return this.#lanes.get(topic)?.[queue];
  }

  get lanes(): readonly Lane[] {
    return [...this.#lanes.values()].flatMap((lanes) => lanes.filter((lane) => lane !== undefined));
  }

  /** Takes a message whose queue is known, without waiting. @returns false for any other. */
  #takeNow(one: SourceMessage): boolean {
    const { message } = one;
    const lane = this.#lanes.get(message.topic)?.[message.queueId];
    if (lane === undefined) return false;
    if (lane.has(message.physicalOffset)) {
      this.tally.carry(message);
      this.progress.alreadyThere++;
      return true;
    }
    const carrying = carry(one, this.#storeId, this.#options);
    if (carrying.kind === 'leave') {
      this.tally.leave(carrying.reason, message, carrying.detail);
      return true;
    }
    this.tally.carry(message);
    this.#sender.add(lane, carrying.record, message.physicalOffset, message.queueOffset);
    return true;
  }

  /** The first message of a queue: one that can be carried over makes the queue known. */
  async #take(one: SourceMessage): Promise<void> {
    const { message } = one;
    const carrying = carry(one, this.#storeId, this.#options);
    if (carrying.kind === 'leave') return this.tally.leave(carrying.reason, message, carrying.detail);
    await this.#openLane(message.topic, message.queueId);
    this.#takeNow(one);
  }

  async #openLane(topic: string, queue: number): Promise<void> {
    await this.#ensureTopic(topic);
    const range = this.#ranges.get(topic)?.[queue];
    if (range === undefined) {
      const text = `the store has messages in queue ${queue} of topic "${topic}", which has ${this.#ranges.get(topic)?.length} queues`;
      throw new TLedgerError(
        'QUEUE_OUT_OF_RANGE',
        `${text}: --queues ${topic}=${queue + 1} makes as many, if it does not exist yet`,
      );
    }
    const where = { client: this.#client, storeId: this.#storeId, topic, queue };
    const lane = await Lane.open(where, range, this.#file.lanes[topic]?.[queue], this.#options.merge);
    const lanes = this.#lanes.get(topic) ?? [];
    lanes[queue] = lane;
    this.#lanes.set(topic, lanes);
  }

  /** Makes the topic unless it is there with as many queues or more. */
  async #ensureTopic(topic: string): Promise<void> {
    if (this.#ranges.has(topic)) return;
    const wanted = Math.max(
      this.#options.queues.get(topic) ?? 0,
      this.#topics.get(topic)?.queues ?? 0,
      this.#source.ends.queues.get(topic) ?? 0,
    );
    const found = await this.#client.admin.topic(topic).catch(async (error: TLedgerError) => {
      if (error.code !== 'TOPIC_NOT_FOUND') throw error;
      await this.#client.admin.createTopic(topic, { queues: Math.max(1, wanted) });
      return this.#client.admin.topic(topic);
    });
    if (found.queues < wanted) {
      const text = `the topic "${topic}" exists with ${found.queues} queues, and the store has ${wanted}`;
      throw new TLedgerError('TOPIC_EXISTS', `${text}: a topic keeps its number of queues`);
    }
    const ranges = found.ranges.map(({ minOffset, maxOffset }) => ({ min: Number(minOffset), max: Number(maxOffset) }));
    this.#ranges.set(topic, ranges);
  }

  #saveNowAndThen(): void {
    if (Date.now() - this.#savedAtMs >= SAVE_INTERVAL_MS) this.save();
  }
}

function isLegal(topic: string): boolean {
  try {
    checkTopicName(topic);
    return true;
  } catch {
    return false;
  }
}
