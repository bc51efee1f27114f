// ReceiveMessage: a pop that waits (ROCKETMQ §4.9). All queues of the topic, whichever the client names. A client hears nothing
// of changes of leaders: the pop is asked again until its time is over. What arrives for a client that has gone is given back.
import { randomUUID } from 'node:crypto';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { TLedgerError } from '../../base/errors.ts';
import { LITE_TOPIC_BYTES_MAX } from '../../broker/lite/lite_table.ts';
import { consumingLimits, type PoppedMessage, type PopRequest } from '../../replica/consuming/types.ts';
import type { Resource } from '../../wire/rocketmq/definitions.ts';
import type { ReceiveMessageRequest, ReceiveMessageResponse } from '../../wire/rocketmq/service_messages.ts';
import { type Incoming, wellFormed } from '../../wire/services.ts';
import { OpenCall } from '../calls.ts';
import { popCall } from '../consuming_calls.ts';
import { failureStatus } from './answering.ts';
import { type Caller, callerOf } from './caller.ts';
import type { Edge } from './edge.ts';
import { filterOf } from './filters.ts';
import { type GroupTopic, receiptHandle } from './handles.ts';
import { checkBinding } from './lite.ts';
import { rocketmqLimits } from './message_check.ts';
import { groupKey, topicKey } from './namespaces.ts';
import { outgoingMessage } from './outgoing_message.ts';
import { pollingTime } from './polling_time.ts';
import { renewalTerms } from './renewals.ts';
import { okStatus, statusOfCode } from './status.ts';
import { millisOf, timestampOf } from './times.ts';
import { findTopic } from './topics.ts';

type Call = ServerWritableStream<Incoming<ReceiveMessageRequest>, ReceiveMessageResponse>;

const WHERE = 'ReceiveMessage';
/** Bytes of one answer; one message may exceed them. Twice as much still fits into a frame between nodes. */
const POP_BYTES_MAX = 2 * 1_048_576;
/** How long the leader may take to answer a poll whose time is over. */
const ANSWER_MS = 2_000;
const REQUEST_BYTES = 512;
/** What naming one lite topic takes at most. */
const LITE_NAME_BYTES = LITE_TOPIC_BYTES_MAX + 3;

/** Serves ReceiveMessage on one node. */
export function receiveHandler(edge: Edge): (call: Call) => void {
  return (call) => {
    call.on('error', () => {});
    new Receive(edge, call).run().catch((error: unknown) => edge.context.report(WHERE, error));
  };
}

/** One call. */
class Receive {
  readonly #edge: Edge;
  readonly #call: Call;
  #open: OpenCall | null = null;
  #isDraining = false;

  constructor(edge: Edge, call: Call) {
    this.#edge = edge;
    this.#call = call;
  }

  async run(): Promise<void> {
    try {
      const open = new OpenCall(this.#edge.context, this.#call);
      this.#open = open;
      const request = wellFormed(this.#call.request);
      const caller = callerOf(this.#call);
      this.#edge.clients.touch(caller);
      await this.#serve(request, caller, open);
    } catch (error) {
      this.#end([{ status: failureStatus(this.#edge.context, WHERE, error) }]);
    }
  }

  async #serve(request: ReceiveMessageRequest, caller: Caller, open: OpenCall): Promise<void> {
    const { clock, gateway, clients } = this.#edge;
    const nowMs = clock.monotonicMs();
    const { longPollingTimeout } = request;
    const polling = pollingTime({
      askedMs: longPollingTimeout === undefined ? null : millisOf(longPollingTimeout, 'long_polling_timeout'),
      leftMs: open.deadlineMs - nowMs,
      settings: clients.get(caller.clientId)?.settings,
      version: caller.version,
    });
    const named = request.messageQueue?.topic ?? null;
    topicKey(named, caller);
    const group = groupKey(request.group, caller);
    const asked = {
      invisibleMs: invisibleMsOf(request),
      filter: filterOf(request.filterExpression),
      countMax: Math.min(Math.max(request.batchSize, 1), consumingLimits.popCountMax),
      bytesMax: POP_BYTES_MAX,
    };
    const attemptId = attemptIdOf(request);
    const { name: topic, messageType } = await findTopic(gateway, named, { caller, deadlineMs: open.stepDeadlineMs });
    if (messageType === 'lite') checkBinding({ group, topic }, gateway.broker.tables.groups.get(group)?.lite);
    // What this node asks for again must bring the messages of a lost answer: nobody else gets them soon.
    const pop = { ...asked, group, topic, attemptId: attemptId || randomUUID() };
    const untilMs = nowMs + polling.waitMs;
    const popped =
      messageType === 'lite'
        ? await this.#popLite(pop, untilMs, open, caller.clientId)
        : await this.#pop(pop, untilMs, open, new AbortController());
    if (popped.length === 0) {
      return this.#end([{ status: statusOfCode('MESSAGE_NOT_FOUND', 'no new message') }, this.#time()]);
    }
    this.#deliver(popped, { group, topic }, named!, request.autoRenew ? caller.clientId : null);
  }

  /** Of a topic of type lite: only what the client wants, which may change while it waits. */
  async #popLite(
    pop: Omit<PopRequest, 'waitMs'>,
    untilMs: number,
    open: OpenCall,
    clientId: string,
  ): Promise<readonly PoppedMessage[]> {
    const { lite, clock } = this.#edge;
    for (;;) {
      const withdrawal = new AbortController();
      let hasChanged = false;
      const forget = lite.onChange(clientId, () => {
        hasChanged = true;
        withdrawal.abort();
      });
      try {
        const popped = await this.#pop({ ...pop, lite: [...lite.of(clientId, pop)] }, untilMs, open, withdrawal);
        const isOver = open.isOver || this.#isDraining || clock.monotonicMs() >= untilMs;
        if (popped.length > 0 || !hasChanged || isOver) return popped;
      } finally {
        forget();
      }
    }
  }

  /** Asks until there is something, the time is over, or the question is withdrawn. */
  async #pop(
    pop: Omit<PopRequest, 'waitMs'>,
    untilMs: number,
    open: OpenCall,
    withdrawal: AbortController,
  ): Promise<readonly PoppedMessage[]> {
    const { asks, clock } = this.#edge;
    open.whenOver(() => withdrawal.abort());
    open.onDrain(() => {
      this.#isDraining = true;
      withdrawal.abort();
    });
    const request = (nowMs: number): PopRequest => ({ ...pop, waitMs: Math.max(0, Math.floor(untilMs - nowMs)) });
    const sizeBytes = REQUEST_BYTES + LITE_NAME_BYTES * (pop.lite?.length ?? 0);
    const options = { sizeBytes, deadlineMs: untilMs + ANSWER_MS, signal: withdrawal.signal };
    try {
      return await asks.ask(popCall, request, options);
    } catch (error) {
      // No leader was found in all that time: nothing is wrong with the call, and the next one may have more luck.
      const isTimeOver = clock.monotonicMs() >= untilMs || withdrawal.signal.aborted;
      if (isTimeOver && asks.isPassing(error)) return [];
      throw error;
    }
  }

  /** @param renewFor the client for whom deliveries are prolonged; null when they are not. */
  #deliver(popped: readonly PoppedMessage[], of: GroupTopic, topic: Resource, renewFor: string | null): void {
    const { renewals, gateway, clock } = this.#edge;
    if (this.#open!.isOver || this.#call.cancelled) return this.#edge.returns.giveBack(popped, of);
    const sinceMs = clock.monotonicMs();
    const storeHost = gateway.self.clientAddress;
    const messages = popped.map((one) => {
      const delivery = { handle: receiptHandle(one, of), attempt: one.attempt };
      return { message: outgoingMessage(one.record, { topic, storeHost, delivery }) };
    });
    if (renewFor !== null) for (const one of popped) renewals.track(renewFor, of, one, sinceMs);
    let isSent = false;
    this.#open!.whenOver(() => {
      if (isSent) return;
      for (const one of popped) renewals.forget(of, one);
      this.#edge.returns.giveBack(popped, of);
    });
    const responses = [{ status: okStatus }, ...messages];
    for (const response of responses) this.#call.write(response);
    this.#call.write(this.#time(), () => {
      isSent = true;
      this.#end([]);
    });
  }

  #time(): ReceiveMessageResponse {
    return { deliveryTimestamp: timestampOf(this.#edge.clock.wallMs()) };
  }

  #end(responses: readonly ReceiveMessageResponse[]): void {
    if (this.#open?.isOver === true) return;
    for (const response of responses) this.#call.write(response);
    this.#call.end();
    this.#open?.close();
  }
}

/** '' when it has none. @throws TLedgerError INVALID_ARGUMENT */
function attemptIdOf({ attemptId = '' }: ReceiveMessageRequest): string {
  if (attemptId.length <= consumingLimits.attemptIdMax) return attemptId;
  throw new TLedgerError('INVALID_ARGUMENT', `attempt_id: it has ${attemptId.length} characters`);
}

function invisibleMsOf({ autoRenew, invisibleDuration }: ReceiveMessageRequest): number {
  if (autoRenew) return renewalTerms.invisibleMs;
  const { invisibleMsMin, invisibleMsMax } = rocketmqLimits;
  const ms = invisibleDuration === undefined ? 0 : millisOf(invisibleDuration, 'invisible_duration');
  if (ms >= invisibleMsMin && ms <= invisibleMsMax) return ms;
  throw new TLedgerError(
    'ILLEGAL_INVISIBLE_TIME',
    `the invisible time is ${ms} ms; ${invisibleMsMin} to ${invisibleMsMax} are allowed`,
  );
}
