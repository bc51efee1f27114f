// Ledger.Consume: streams one or all queues of a topic, in turn, as fast as the client takes them and no faster.
import type { ServerWritableStream } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import type { PullRequest as BrokerPull, PullResult, TopicInfo } from '../broker/types.ts';
import type { QueueOffset } from '../format/message.ts';
import type { ConsumeRequest, ConsumeResponse, MemberAddress } from '../wire/ledger_messages.ts';
import { PULL_COUNT_DEFAULT } from '../wire/limits.ts';
import { type Incoming, wellFormed } from '../wire/services.ts';
import type { OpenCall } from './calls.ts';
import type { Gateway } from './gateway.ts';
import type { ReadAdvice } from './read_from.ts';
import { boundOf, checkOffset, findQueue, findTopic, offsetOf, pullSome } from './reading.ts';
import { rangesOf, toStoredMessages } from './replies.ts';

/** Bytes handed to a stream and not yet taken by its connection; beyond it reading stops until some are. */
export const UNSENT_BYTES_MAX = 4 * 1024 * 1024;

/** What consumers get of a node. */
export interface ConsumeTerms {
  readonly advice: ReadAdvice;
  /** As `UNSENT_BYTES_MAX`, for one that reads old data; no more than that. */
  readonly coldUnsentBytesMax: number;
}

const NOTHING = Buffer.alloc(0);
/** Messages of one response; the bytes usually bind first. */
const COUNT_MAX = 16 * PULL_COUNT_DEFAULT;

type Call = ServerWritableStream<Incoming<ConsumeRequest>, ConsumeResponse>;

interface Position {
  readonly queueId: number;
  offset: QueueOffset;
}

/**
 * Serves a consume stream until it is cancelled or the node stops.
 * @throws TLedgerError TOPIC_NOT_FOUND, QUEUE_OUT_OF_RANGE, OFFSET_OUT_OF_RANGE, INVALID_ARGUMENT, NO_LEADER,
 * NODE_REMOVED, SHUTTING_DOWN
 */
export async function consume(gateway: Gateway, terms: ConsumeTerms, call: Call, open: OpenCall): Promise<void> {
  const request = wellFormed(call.request);
  const refusal = gateway.outside();
  if (refusal !== null) throw refusal;
  const topic = await findTopic(gateway, request.topic, open.stepDeadlineMs);
  const positions = await startPositions(gateway, topic, request, open.stepDeadlineMs);
  const outlet = new Outlet(call, open);
  const wakeUp = new WakeUp(open, () => outlet.release());
  /** Positions behind which there may be messages, in turn; the others are silent, however many they are. */
  const due = new Set<Position>();
  const follow = (position: Position): void => {
    due.add(position);
    const onAppend = (): void => {
      due.add(position);
      wakeUp.ring();
    };
    open.whenOver(gateway.broker.onAppend(topic.name, position.queueId, onAppend));
  };
  positions.forEach(follow);
  const isOfAll = request.newQueues === true;
  // Queues come with a change of the topic, or with their first message.
  if (isOfAll) {
    const ring = (): void => wakeUp.ring();
    open.whenOver(gateway.onChange(ring));
    open.whenOver(gateway.broker.onAppendToAny(topic.name, ring));
  }
  const bytesMax = boundOf(request.maxBytes, 'max_bytes');
  const advice = terms.advice.reader();
  while (!open.isOver) {
    if (isOfAll) addNewQueues(gateway, topic.name, positions).forEach(follow);
    const [position] = due;
    if (position === undefined) {
      await wakeUp.wait();
      continue;
    }
    // Before it is read: what comes meanwhile makes it due again.
    due.delete(position);
    const { queueId, offset } = position;
    const pull = { topic: topic.name, queueId, offset, countMax: COUNT_MAX, bytesMax };
    const result = await pullSome(gateway, pull);
    if (open.isOver) return;
    wakeUp.throwIfDraining();
    if (result === null) continue;
    position.offset = result.nextOffset;
    if (result.nextOffset < result.max) due.add(position);
    const readFrom = advice.after(queueId, result.backlogBytes);
    outlet.write(toResponse(pull, result, request.packed, readFrom), result.records.length);
    await outlet.ready(result.isCold ? terms.coldUnsentBytesMax : UNSENT_BYTES_MAX);
    if (open.isOver) return;
    wakeUp.throwIfDraining();
  }
}

/** Queues of the topic that are not read yet begin to be. @returns their positions. */
function addNewQueues(gateway: Gateway, topic: string, positions: Position[]): Position[] {
  const queues = gateway.broker.topic(topic)?.queues ?? 0;
  if (positions.length >= queues) return [];
  const known = new Set(positions.map(({ queueId }) => queueId));
  const added: Position[] = [];
  for (let queueId = 0; queueId < queues; queueId++) {
    if (!known.has(queueId)) added.push({ queueId, offset: gateway.broker.range(topic, queueId).min });
  }
  positions.push(...added);
  return added;
}

async function startPositions(
  gateway: Gateway,
  topic: TopicInfo,
  request: ConsumeRequest,
  deadlineMs: number,
): Promise<Position[]> {
  if (request.positions.length === 0) {
    if (request.start === 'LATEST') await gateway.readBarrier(deadlineMs);
    return rangesOf(gateway.broker, topic).map((range) => ({
      queueId: range.queueId,
      offset: request.start === 'LATEST' ? range.max : range.min,
    }));
  }
  const seen = new Set<number>();
  const positions: Position[] = [];
  for (const { queue: queueId, offset: text } of request.positions) {
    await findQueue(gateway, topic.name, queueId, deadlineMs);
    if (seen.has(queueId)) throw new TLedgerError('INVALID_ARGUMENT', `positions name queue ${queueId} twice`);
    seen.add(queueId);
    const offset = offsetOf(text);
    await checkOffset(gateway, { topic: topic.name, queueId, offset }, deadlineMs);
    positions.push({ queueId, offset });
  }
  return positions;
}

function toResponse(
  { topic, queueId, offset }: BrokerPull,
  result: PullResult,
  packed: boolean,
  readFrom: MemberAddress | null,
): ConsumeResponse {
  return {
    queue: queueId,
    messages: packed ? [] : toStoredMessages(result.records, topic, queueId, offset),
    records: packed ? result.records : NOTHING,
    count: result.count,
    firstOffset: String(offset),
    nextOffset: String(result.nextOffset),
    maxOffset: String(result.max),
    readFrom,
  };
}

/** Lets a sleeping loop go on: at new messages, when the call is over, when the node stops. */
class WakeUp {
  #rung = false;
  #draining = false;
  #resolve: (() => void) | undefined;

  /** @param onDrain ends another wait of the same loop when the node stops. */
  constructor(open: OpenCall, onDrain: () => void) {
    open.whenOver(() => this.ring());
    open.onDrain(() => {
      this.#draining = true;
      this.ring();
      onDrain();
    });
  }

  ring(): void {
    this.#rung = true;
    this.#resolve?.();
  }

  async wait(): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
      });
    }
    this.#rung = false;
    this.#resolve = undefined;
    this.throwIfDraining();
  }

  throwIfDraining(): void {
    if (this.#draining) throw new TLedgerError('SHUTTING_DOWN');
  }
}

/** Counts what the connection has not taken yet. */
class Outlet {
  readonly #call: Call;
  #unsentBytes = 0;
  #unsentBytesMax = UNSENT_BYTES_MAX;
  #resolve: (() => void) | undefined;

  constructor(call: Call, open: OpenCall) {
    this.#call = call;
    // A cancelled call never reports its writes as done.
    open.whenOver(() => this.#resolve?.());
  }

  /** Stops waiting for room, for the node stops. */
  release(): void {
    this.#resolve?.();
  }

  write(response: ConsumeResponse, sizeBytes: number): void {
    this.#unsentBytes += sizeBytes;
    this.#call.write(response, () => {
      this.#unsentBytes -= sizeBytes;
      if (this.#unsentBytes < this.#unsentBytesMax) this.#resolve?.();
    });
  }

  /** Resolves when there is room for more; always leaves the event loop's turn, so that one stream cannot hog the node. */
  async ready(unsentBytesMax: number): Promise<void> {
    this.#unsentBytesMax = unsentBytesMax;
    if (this.#unsentBytes < unsentBytesMax) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      return;
    }
    await new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
    this.#resolve = undefined;
  }
}
