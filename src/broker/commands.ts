// Commands: log records that change the broker's tables rather than carry a message. Their bodies are small JSON with a
// version and a type. A replica that does not understand a committed command must stop: skipping it would make its state
// differ from the others'.
import { assert, InvariantError } from '../base/assert.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { checkTopicName } from '../format/limits.ts';
import { decodeMembership } from '../format/membership.ts';
import type { Membership } from '../raft/types.ts';
import type { BrokerLimits } from './limits.ts';
import type { TopicTable } from './topics.ts';
import type { TopicInfo } from './types.ts';

const COMMAND_VERSION = 1;

/** `{"v":1,"type":"create-topic","name":…,"queues":…,"createdAtMs":…}` */
export interface CreateTopic {
  readonly type: 'create-topic';
  readonly topic: TopicInfo;
}

/** What a command record can hold. */
export type Command = CreateTopic;

/** The body of a command record. */
export function encodeCommand(command: Command): Buffer {
  return Buffer.from(JSON.stringify({ v: COMMAND_VERSION, type: command.type, ...command.topic }));
}

/** The command in a committed record. @throws InvariantError for anything this version does not understand. */
export function decodeCommand(body: Buffer): Command {
  const fields = parseObject(body.toString());
  assert(fields.get('v') === COMMAND_VERSION, () => `command of version ${String(fields.get('v'))} is not understood`);
  const type = fields.get('type');
  assert(type === 'create-topic', () => `command of type ${JSON.stringify(type)} is not understood`);
  const name = fields.get('name');
  const queues = fields.get('queues');
  const createdAtMs = fields.get('createdAtMs');
  assert(typeof name === 'string', 'a create-topic command names the topic');
  assert(isCount(queues) && queues > 0, 'a create-topic command gives the number of queues');
  assert(isCount(createdAtMs), 'a create-topic command gives the time');
  return { type, topic: { name, queues, createdAtMs } };
}

/** The membership in a committed record. @throws InvariantError for anything this version does not understand. */
export function decodeCommittedMembership(body: Buffer): Membership {
  try {
    return decodeMembership(body);
  } catch (error) {
    throw new InvariantError(messageOf(error), { cause: error });
  }
}

/**
 * What a leader answers to the wish for a topic: the topic that is there, or that will be if its command is committed (with
 * another number of queues, perhaps), or a command to append.
 * @param pending topics whose commands are in the log but not applied.
 * @throws TLedgerError ILLEGAL_TOPIC, INVALID_ARGUMENT (queues), TOPIC_EXISTS, TOO_MANY_TOPICS
 */
export function planTopic(
  wish: TopicInfo,
  state: {
    readonly topics: TopicTable;
    readonly pending: ReadonlyMap<string, TopicInfo>;
    readonly limits: BrokerLimits;
  },
): TopicInfo | CreateTopic {
  const { topics, pending, limits } = state;
  const { name, queues } = wish;
  checkTopicName(name);
  if (!Number.isInteger(queues) || queues < 1 || queues > limits.queuesPerTopicMax) {
    throw new TLedgerError('INVALID_ARGUMENT', `a topic has 1 to ${limits.queuesPerTopicMax} queues, not ${queues}`);
  }
  const existing = topics.get(name)?.info;
  if (existing !== undefined) {
    if (existing.queues === queues) return existing;
    throw topicExists(existing);
  }
  // Nobody is refused because of a command that may still be lost: whoever asked learns the end of it first.
  const awaited = pending.get(name);
  if (awaited !== undefined) return awaited;
  if (topics.count + pending.size >= limits.topicsMax) {
    throw new TLedgerError('TOO_MANY_TOPICS', `the group holds ${limits.topicsMax} topics, as many as it may`);
  }
  let queueCount = topics.queueCount + queues;
  for (const topic of pending.values()) queueCount += topic.queues;
  if (queueCount > limits.queuesTotalMax) {
    throw new TLedgerError('TOO_MANY_TOPICS', `the group may hold ${limits.queuesTotalMax} queues, not ${queueCount}`);
  }
  return { type: 'create-topic', topic: { name, queues, createdAtMs: wish.createdAtMs } };
}

/** The refusal of another number of queues than `existing` has. */
export function topicExists({ name, queues }: TopicInfo): TLedgerError {
  return new TLedgerError('TOPIC_EXISTS', `topic ${name} exists with ${queues} queues`);
}

function parseObject(text: string): ReadonlyMap<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  assert(typeof value === 'object' && value !== null, 'a command is a JSON object');
  return new Map<string, unknown>(Object.entries(value));
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
