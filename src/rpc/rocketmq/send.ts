// SendMessage: checks, turns into records, has the leader store them (ROCKETMQ §4.6). All messages of one call go to one queue
// in one batch: all of them or none. A message is remembered by its id for a while, so that saying it again, as clients and
// this node do when they did not hear an answer, stores it once.
import { TLedgerError } from '../../base/errors.ts';
import type { TopicInfo } from '../../broker/types.ts';
import type { AppendResult } from '../../replica/types.ts';
import type { Message, Status } from '../../wire/rocketmq/definitions.ts';
import type { SendMessageRequest, SendMessageResponse, SendResultEntry } from '../../wire/rocketmq/service_messages.ts';
import { addLiteCall, storeCall } from '../consuming_calls.ts';
import type { Asked } from './answering.ts';
import type { Edge } from './edge.ts';
import { recallHandle } from './handles.ts';
import { type IncomingMessage, incomingMessage, recordOf } from './incoming_message.ts';
import { checkBatch, checkMessage } from './message_check.ts';
import { checkMessageType } from './message_type.ts';
import { topicKey } from './namespaces.ts';
import { QueueChoice } from './queue_choice.ts';
import { okStatus, statusOfEntries } from './status.ts';
import { findTopic } from './topics.ts';

const LITE_REQUEST_BYTES = 256;

/** Serves SendMessage on one node. */
export class Sender {
  readonly #edge: Edge;
  readonly #queues = new QueueChoice();

  constructor(edge: Edge) {
    this.#edge = edge;
  }

  /** @throws TLedgerError for the first message that is refused: none is stored then. */
  async send({ messages }: SendMessageRequest, asked: Asked): Promise<SendMessageResponse> {
    const { gateway, clock, asks } = this.#edge;
    const first = checkSameTopic(messages, asked);
    const origin = { nowMs: clock.wallMs(), peer: asked.caller.peer };
    // What is wrong with a message is said before anybody is asked about the topic.
    topicKey(first.topic, asked.caller);
    const incoming = messages.map((message) => {
      checkMessage(message, origin.nowMs);
      return incomingMessage(message, origin);
    });
    const topic = await findTopic(gateway, first.topic, asked);
    checkTypes(incoming, topic);
    const { flags } = incoming[0]!;
    const queueId = await this.#queueFor(incoming, topic, asked);
    const encode = (): Buffer => checkBatch(incoming.map((one) => recordOf(one, topic.name, queueId)));
    let encoded: Buffer | null = encode();
    const sizeBytes = encoded.length;
    const request = () => {
      // Whoever got the bytes wrote into them: another asking needs its own.
      const records = encoded ?? encode();
      encoded = null;
      return { topic: topic.name, queueId, flags, records };
    };
    const result = await asks.ask(storeCall, request, { sizeBytes, deadlineMs: asked.deadlineMs });
    const entries = incoming.map((message, at) => entryOf(message, result, at));
    return { status: statusOfEntries(entries), entries };
  }

  /** @throws TLedgerError LITE_TOPIC_QUOTA_EXCEEDED; of the way to the leader. */
  async #queueFor(incoming: readonly IncomingMessage[], topic: TopicInfo, { deadlineMs }: Asked): Promise<number> {
    const { type, messageGroup, priority, liteTopic } = incoming[0]!;
    if (type === 'PRIORITY') return Math.min(priority, topic.queues - 1);
    if (type !== 'LITE')
      return this.#queues.choose(topic.name, topic.queues, incoming.length === 1 ? messageGroup : '');
    const { gateway, asks } = this.#edge;
    const known = gateway.broker.tables.lite.queueOf(topic.name, liteTopic);
    if (known !== undefined) return known;
    const request = { topic: topic.name, lite: liteTopic };
    return asks.ask(addLiteCall, () => request, { sizeBytes: LITE_REQUEST_BYTES, deadlineMs });
  }

  /** The answer when nothing was stored: one entry a message all the same. */
  refused(status: Status, request: SendMessageRequest | null): SendMessageResponse {
    const entries = (request?.messages ?? []).map(({ systemProperties }) => ({
      status,
      messageId: systemProperties?.messageId ?? '',
      transactionId: '',
      offset: '0',
      recallHandle: '',
    }));
    return { status, entries };
  }
}

function entryOf({ id, dueMs, flags: _ }: IncomingMessage, result: AppendResult, at: number): SendResultEntry {
  const { queueOffset, lastIndex } = result;
  return {
    status: okStatus,
    messageId: id,
    // Clients compare the two, whatever kind the message is of.
    transactionId: id,
    offset: String(Math.max(0, queueOffset) + at),
    recallHandle: dueMs === null ? '' : recallHandle({ index: lastIndex, dueMs, messageId: id }),
  };
}

/** @returns the first message. @throws TLedgerError MESSAGE_CORRUPTED */
function checkSameTopic(messages: readonly Message[], { caller }: Asked): Message {
  const first = messages[0];
  if (first === undefined) throw new TLedgerError('MESSAGE_CORRUPTED', 'no message to send');
  if (messages.length === 1) return first;
  const name = topicKey(first.topic, caller);
  if (messages.some(({ topic }) => topicKey(topic, caller) !== name)) {
    throw new TLedgerError('MESSAGE_CORRUPTED', 'different topic in one request');
  }
  return first;
}

function checkTypes(incoming: readonly IncomingMessage[], topic: TopicInfo): void {
  for (const { type } of incoming) {
    checkMessageType(type, topic);
    if (incoming.length > 1 && type !== 'NORMAL') {
      throw new TLedgerError('MESSAGE_TYPE_MISMATCH', `several messages in one call are NORMAL ones, not ${type}`);
    }
  }
}
