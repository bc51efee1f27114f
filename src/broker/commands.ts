// Commands: log records that change the broker's tables rather than carry a message. Their bodies are small JSON with a
// version and a type. A replica that does not understand a committed command must stop: skipping it would make its state
// differ from the others'.
import { assert, InvariantError } from '../base/assert.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { checkTopicName } from '../format/limits.ts';
import { decodeMembership } from '../format/membership.ts';
import { type LogIndex, logIndex, type Membership } from '../raft/types.ts';
import { type Consume, consumeFields, readConsume } from './consuming/consume_command.ts';
import { type BindLite, type GroupInfo, groupValue, readGroup } from './consuming/groups.ts';
import type { BrokerLimits } from './limits.ts';
import type { AddLite } from './lite/lite_table.ts';
import type { ClaimLite } from './lite/owner_table.ts';
import { readArray, readCount, readTopicType } from './state_tables.ts';
import type { TopicTable } from './topics.ts';
import { type TopicInfo, topicOf } from './types.ts';

const COMMAND_VERSION = 1;

/** `{"v":1,"type":"create-topic","name":…,"queues":…,"createdAtMs":…}` */
export interface CreateTopic {
  readonly type: 'create-topic';
  readonly topic: TopicInfo;
}

/** A topic has at least so many queues from here on: `{"v":1,"type":"add-queues","name":…,"queues":…}`. */
export interface AddQueues {
  readonly type: 'add-queues';
  readonly name: string;
  readonly queues: number;
}

/** A consumer group is there, or is now what this says: `{"v":1,"type":"put-group","name":…,…,"onlyNew":true}`. */
export interface PutGroup {
  readonly type: 'put-group';
  readonly group: GroupInfo;
  /** A group that is there stays as it is. */
  readonly onlyNew?: boolean;
}

/** A consumer group and all its progress go: `{"v":1,"type":"delete-group","name":…}`. */
export interface DeleteGroup {
  readonly type: 'delete-group';
  readonly name: string;
}

/** A message that is held back goes for good (recalled, rolled back): `{"v":1,"type":"drop-parked","index":…}`. */
export interface DropParked {
  readonly type: 'drop-parked';
  readonly index: LogIndex;
}

/** The producer of a half is asked what became of it: `{"v":1,"type":"check-half","index":…,"nextMs":…}`. */
export interface CheckHalf {
  readonly type: 'check-half';
  readonly index: LogIndex;
  /** When it is to be asked again. */
  readonly nextMs: number;
}

/** What a command record can hold. */
export type Command =
  | CreateTopic
  | AddQueues
  | PutGroup
  | BindLite
  | ClaimLite
  | DeleteGroup
  | Consume
  | DropParked
  | CheckHalf
  | AddLite;

/** The body of a command record. */
export function encodeCommand(command: Command): Buffer {
  return Buffer.from(JSON.stringify({ v: COMMAND_VERSION, type: command.type, ...fieldsOf(command) }));
}

function fieldsOf(command: Command): object {
  switch (command.type) {
    case 'create-topic':
      return command.topic;
    case 'put-group':
      return {
        name: command.group.name,
        ...groupValue(command.group),
        ...(command.onlyNew === true ? { onlyNew: true } : {}),
      };
    case 'consume':
      return consumeFields(command);
    case 'add-queues':
    case 'add-lite':
    case 'bind-lite':
    case 'claim-lite':
    case 'delete-group':
    case 'drop-parked':
    case 'check-half':
      return command;
  }
}

/**
 * The body of a command record that every replica will understand: the leader's door.
 * @throws TLedgerError INVALID_ARGUMENT for numbers and names that no state can hold, whoever let them through.
 */
export function encodeSoundCommand(command: Command): Buffer {
  const body = encodeCommand(command);
  try {
    decodeCommand(body);
  } catch (error) {
    throw new TLedgerError('INVALID_ARGUMENT', `the command makes no sense: ${messageOf(error)}`, error);
  }
  return body;
}

/** The command in a committed record. @throws InvariantError for anything this version does not understand. */
export function decodeCommand(body: Buffer): Command {
  const fields = parseObject(body.toString());
  assert(fields.get('v') === COMMAND_VERSION, () => `command of version ${String(fields.get('v'))} is not understood`);
  const type = fields.get('type');
  switch (type) {
    case 'create-topic':
      return readCreateTopic(fields);
    case 'add-queues':
      return { type, name: readName(fields), queues: readCount(fields.get('queues')) };
    case 'put-group':
      return {
        type,
        group: readGroup(readName(fields), Object.fromEntries(fields)),
        ...(fields.get('onlyNew') === true ? { onlyNew: true } : {}),
      };
    case 'delete-group':
      return { type, name: readName(fields) };
    case 'add-lite':
      return { type, name: readName(fields), lite: readName(fields, 'lite') };
    case 'bind-lite':
      return {
        type,
        name: readName(fields),
        topic: readName(fields, 'topic'),
        createdAtMs: readCount(fields.get('createdAtMs')),
      };
    case 'claim-lite':
      return {
        type,
        name: readName(fields),
        client: readName(fields, 'client'),
        node: readName(fields, 'node'),
        claimed: readNames(fields, 'claimed'),
        released: readNames(fields, 'released'),
      };
    case 'consume':
      return readConsume(fields);
    case 'drop-parked':
      return { type, index: logIndex(readCount(fields.get('index'))) };
    case 'check-half':
      return { type, index: logIndex(readCount(fields.get('index'))), nextMs: readCount(fields.get('nextMs')) };
    default:
      throw new InvariantError(`command of type ${JSON.stringify(type)} is not understood`);
  }
}

function readCreateTopic(fields: ReadonlyMap<string, unknown>): CreateTopic {
  const queues = readCount(fields.get('queues'));
  assert(queues > 0, 'a create-topic command gives the number of queues');
  return {
    type: 'create-topic',
    topic: topicOf(
      { name: readName(fields), queues, messageType: readTopicType(fields.get('messageType')) },
      readCount(fields.get('createdAtMs')),
    ),
  };
}

function readName(fields: ReadonlyMap<string, unknown>, key = 'name'): string {
  const name = fields.get(key);
  assert(typeof name === 'string', 'a command says whom it is about');
  return name;
}

function readNames(fields: ReadonlyMap<string, unknown>, key: string): string[] {
  return readArray(fields.get(key)).map((name) => {
    assert(typeof name === 'string', 'names are texts');
    return name;
  });
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
  const { name, queues, messageType } = wish;
  checkTopicName(name);
  if (!Number.isInteger(queues) || queues < 1 || queues > limits.queuesPerTopicMax) {
    throw new TLedgerError('INVALID_ARGUMENT', `a topic has 1 to ${limits.queuesPerTopicMax} queues, not ${queues}`);
  }
  const existing = topics.get(name)?.info;
  if (existing !== undefined) {
    // A lite topic's queues grow with what is sent to it.
    const isAsMany = existing.queues === queues || messageType === 'lite';
    if (isAsMany && existing.messageType === messageType) return existing;
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
  return { type: 'create-topic', topic: wish };
}

/** The refusal of other settings than `existing` has. */
export function topicExists({ name, queues, messageType }: TopicInfo): TLedgerError {
  const type = messageType === undefined ? '' : ` of type ${messageType}`;
  return new TLedgerError('TOPIC_EXISTS', `topic ${name} exists with ${queues} queues${type}`);
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
