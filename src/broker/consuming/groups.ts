// Consumer groups: what the members of each have agreed upon. Created by a command, on first use or by hand.
import { assert } from '../../base/assert.ts';
import { TLedgerError } from '../../base/errors.ts';
import { quoted } from '../../base/quoted.ts';
import { checkTopicName } from '../../format/limits.ts';
import { ChangedRows, type RowChanges, readRows, type StateTable } from '../state_table.ts';
import { readCount } from '../state_tables.ts';

/** How long a message that was not consumed waits before clients ask for it again (ROCKETMQ §4.1). */
export type RetryPolicy =
  | { readonly kind: 'exponential'; readonly initialMs: number; readonly maxMs: number; readonly multiplier: number }
  /** One step an attempt; the last one goes on for ever. */
  | { readonly kind: 'customized'; readonly stepsMs: readonly number[] };

/** What makes a group one of lite topics (ROCKETMQ §5.9). */
export interface LiteBinding {
  /** The parent topic whose lite topics its members subscribe to: this one only. */
  readonly topic: string;
  /** A lite topic goes to one client, the last that subscribed to it; otherwise all that did share it. */
  readonly isExclusive: boolean;
}

/** A consumer group. */
export interface GroupInfo {
  readonly name: string;
  /** The messages of a queue are handed out in order, one batch at a time. */
  readonly isFifo: boolean;
  /** Deliveries of one message, the first included, before it becomes a dead letter. */
  readonly attemptsMax: number;
  readonly retryPolicy: RetryPolicy;
  readonly createdAtMs: number;
  /** From its first subscription to lite topics on, or as somebody said before. */
  readonly lite?: LiteBinding | undefined;
}

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** What a group is that nobody described: RocketMQ's defaults. */
export const groupDefaults = {
  isFifo: false,
  attemptsMax: 17,
  retryPolicy: {
    kind: 'customized',
    stepsMs: [
      ...[1, 5, 10, 30].map((count) => count * SECOND_MS),
      ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30].map((count) => count * MINUTE_MS),
      ...[1, 2].map((count) => count * HOUR_MS),
    ],
  },
} as const satisfies Omit<GroupInfo, 'name' | 'createdAtMs' | 'lite'>;

/** Bounds of a group. */
export const groupLimits = {
  charactersMax: 120,
  attemptsMax: 1_000,
  retryStepsMax: 64,
  retryDelayMsMax: 12 * HOUR_MS,
} as const;

const NAME_PATTERN = /^[%|a-zA-Z0-9_-]+$/;
/** Begins the names of groups that belong to RocketMQ itself. */
const SYSTEM_PREFIX = 'CID_RMQ_SYS_';
const PREFIX = 'g/';

/** Checks a group's name (ROCKETMQ §3.3). @throws TLedgerError ILLEGAL_GROUP */
export function checkGroupName(name: string): void {
  if (name.trim() === '') throw new TLedgerError('ILLEGAL_GROUP', 'the name of the consumer group is empty');
  if (name.length > groupLimits.charactersMax) {
    throw new TLedgerError(
      'ILLEGAL_GROUP',
      `the name of the consumer group has ${name.length} characters; at most ${groupLimits.charactersMax} are allowed`,
    );
  }
  if (!NAME_PATTERN.test(name)) {
    throw new TLedgerError('ILLEGAL_GROUP', `the consumer group ${quoted(name)} has characters beside %|a-zA-Z0-9_-`);
  }
  if (name.startsWith(SYSTEM_PREFIX)) throw new TLedgerError('ILLEGAL_GROUP', `${name} is a system group`);
}

/** A group that subscribes to lite topics: `{"v":1,"type":"bind-lite","name":…,"topic":…,"createdAtMs":…}`. */
export interface BindLite {
  readonly type: 'bind-lite';
  /** The group, which comes to be if it is not there. */
  readonly name: string;
  /** The parent topic, unless the group is bound already. */
  readonly topic: string;
  readonly createdAtMs: number;
}

/** Checks all that is said of a group. @throws TLedgerError ILLEGAL_GROUP, ILLEGAL_TOPIC, INVALID_ARGUMENT */
export function checkGroup(group: GroupInfo): void {
  checkGroupName(group.name);
  if (group.lite !== undefined) checkTopicName(group.lite.topic);
  const { isFifo, attemptsMax, retryPolicy, createdAtMs } = group;
  if (typeof isFifo !== 'boolean' || !Number.isSafeInteger(createdAtMs) || createdAtMs < 0) {
    throw new TLedgerError('INVALID_ARGUMENT', 'a group is in order or not, and was made at some time');
  }
  if (!Number.isInteger(attemptsMax) || attemptsMax < 1 || attemptsMax > groupLimits.attemptsMax) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `a message is delivered 1 to ${groupLimits.attemptsMax} times, not ${attemptsMax}`,
    );
  }
  const delays = retryPolicy.kind === 'customized' ? retryPolicy.stepsMs : [retryPolicy.initialMs, retryPolicy.maxMs];
  if (delays.length === 0 || delays.length > groupLimits.retryStepsMax) {
    throw new TLedgerError('INVALID_ARGUMENT', `a retry policy has 1 to ${groupLimits.retryStepsMax} steps`);
  }
  for (const delayMs of delays) {
    if (Number.isInteger(delayMs) && delayMs >= 0 && delayMs <= groupLimits.retryDelayMsMax) continue;
    throw new TLedgerError('INVALID_ARGUMENT', `a retry waits 0 to ${groupLimits.retryDelayMsMax} ms, not ${delayMs}`);
  }
  if (retryPolicy.kind === 'exponential' && !(retryPolicy.multiplier >= 1 && retryPolicy.multiplier <= 100)) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `the multiplier of a retry policy is 1 to 100, not ${retryPolicy.multiplier}`,
    );
  }
}

/** A group as its row and its command hold it. */
export function groupValue({ isFifo, attemptsMax, retryPolicy, createdAtMs, lite }: GroupInfo): object {
  return { isFifo, attemptsMax, retryPolicy, createdAtMs, lite };
}

/** A group from its row or command. @throws InvariantError when it makes no sense. */
export function readGroup(name: string, value: unknown): GroupInfo {
  const fields = value as { readonly [key in keyof GroupInfo]?: unknown };
  const policy = fields.retryPolicy as RetryPolicy | undefined;
  assert(typeof fields.isFifo === 'boolean', 'a group is in order or not');
  assert(policy?.kind === 'exponential' || policy?.kind === 'customized', 'a group has a retry policy');
  return {
    name,
    isFifo: fields.isFifo,
    attemptsMax: readCount(fields.attemptsMax),
    retryPolicy: policy,
    createdAtMs: readCount(fields.createdAtMs),
    ...(fields.lite === undefined ? {} : { lite: readLiteBinding(fields.lite) }),
  };
}

function readLiteBinding(value: unknown): LiteBinding {
  const { topic, isExclusive } = value as { readonly [key in keyof LiteBinding]?: unknown };
  assert(typeof topic === 'string', 'a group of lite topics is bound to a topic');
  assert(typeof isExclusive === 'boolean', 'subscriptions are exclusive or not');
  return { topic, isExclusive };
}

/** All groups by name: rows `g/<name>`. */
export class GroupTable implements StateTable {
  readonly prefix = PREFIX;
  readonly #groups = new Map<string, GroupInfo>();
  readonly #changed = new ChangedRows();
  readonly #listeners = new Set<(name: string | null) => void>();

  get count(): number {
    return this.#groups.size;
  }

  get(name: string): GroupInfo | undefined {
    return this.#groups.get(name);
  }

  /** Sorted by name. */
  list(): GroupInfo[] {
    return [...this.#groups.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Calls `listener` with the name of each group that is made, changed or deleted, with null when all may be others, until the
   * returned function is called. In the middle of applying: it may remember what it heard, and nothing else.
   */
  onChange(listener: (name: string | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(name: string | null): void {
    for (const listener of this.#listeners) listener(name);
  }

  /** Adds a group, or changes what is said of it. */
  put(group: GroupInfo): void {
    this.#groups.set(group.name, group);
    this.#changed.mark(PREFIX + group.name);
    this.#tell(group.name);
  }

  /** It subscribes to lite topics of that parent, unless it is bound already. */
  bind({ name, topic, createdAtMs }: BindLite): void {
    const group = this.get(name) ?? { name, ...groupDefaults, createdAtMs };
    if (group.lite === undefined) this.put({ ...group, lite: { topic, isExclusive: false } });
  }

  delete(name: string): void {
    if (!this.#groups.delete(name)) return;
    this.#changed.mark(PREFIX + name);
    this.#tell(name);
  }

  takeChanges(into: RowChanges): void {
    this.#changed.take(into, (key) => {
      const group = this.#groups.get(key.slice(PREFIX.length));
      return group === undefined ? null : JSON.stringify(groupValue(group));
    });
  }

  restore(rows: ReadonlyMap<string, string>): void {
    const groups: GroupInfo[] = [];
    readRows(rows, (key, value) => groups.push(readGroup(key.slice(PREFIX.length), value)));
    this.#groups.clear();
    for (const group of groups) this.#groups.set(group.name, group);
    this.#changed.clear();
    this.#tell(null);
  }
}
