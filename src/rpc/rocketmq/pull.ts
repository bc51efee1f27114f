// PullMessage: reads one queue from an offset, waiting for the first message if there is none (ROCKETMQ §4.14). From this
// replica, which shows only what is committed; nothing is handed out, so that nothing is to be acknowledged.
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Timer } from '../../base/clock.ts';
import { TLedgerError } from '../../base/errors.ts';
import { compileFilter, type MessageFilter } from '../../broker/filter/filter.ts';
import { isWanted } from '../../broker/filter/record_filter.ts';
import { type QueueOffset, queueOffset } from '../../format/message.ts';
import { sizeAt } from '../../format/record.ts';
import { consumingLimits } from '../../replica/consuming/types.ts';
import type { Resource } from '../../wire/rocketmq/definitions.ts';
import type { PullMessageRequest, PullMessageResponse } from '../../wire/rocketmq/service_messages.ts';
import { type Incoming, wellFormed } from '../../wire/services.ts';
import { OpenCall } from '../calls.ts';
import { WAITING_PULLS_MAX } from '../pull.ts';
import { checkOffset, pullSome, rangeOf } from '../reading.ts';
import { failureStatus } from './answering.ts';
import { callerOf } from './caller.ts';
import type { Edge } from './edge.ts';
import { filterOf } from './filters.ts';
import { groupKey } from './namespaces.ts';
import { findQueue, offsetIn, type QueuePlace } from './offsets.ts';
import { outgoingMessage } from './outgoing_message.ts';
import { pollingTime } from './polling_time.ts';
import { okStatus, statusOfCode } from './status.ts';
import { millisOf } from './times.ts';

type Call = ServerWritableStream<Incoming<PullMessageRequest>, PullMessageResponse>;

const WHERE = 'PullMessage';
/** Bytes of one answer; one message may exceed them. */
const PULL_BYTES_MAX = 2 * 1_048_576;
/** Messages that one look reads when a filter leaves some out. */
const SCAN_COUNT = 256;
/** Whoever waits no longer than this wants to know what is there now. */
const GLANCE_MS = 50;

/** Pulls that wait on one node. */
class Waiting {
  count = 0;
}

/** Serves PullMessage on one node. */
export function pullHandler(edge: Edge): (call: Call) => void {
  const waiting = new Waiting();
  return (call) => {
    call.on('error', () => {});
    let open: OpenCall | null = null;
    const serve = async (): Promise<readonly PullMessageResponse[]> => {
      open = new OpenCall(edge.context, call);
      return new Pull(edge, open, waiting).answer(wellFormed(call.request), call);
    };
    serve()
      .catch((error: unknown) => [{ status: failureStatus(edge.context, WHERE, error) }])
      .then((responses) => {
        if (open?.isOver === true) return;
        for (const response of responses) call.write(response);
        call.end();
        open?.close();
      })
      .catch((error: unknown) => edge.context.report(WHERE, error));
  };
}

/** One call. */
class Pull {
  readonly #edge: Edge;
  readonly #open: OpenCall;
  readonly #waiting: Waiting;
  #isDraining = false;
  #wake = (): void => {};

  constructor(edge: Edge, open: OpenCall, waiting: Waiting) {
    this.#edge = edge;
    this.#open = open;
    this.#waiting = waiting;
    open.whenOver(() => this.#wake());
    open.onDrain(() => {
      this.#isDraining = true;
      this.#wake();
    });
  }

  /** @throws TLedgerError for whatever is wrong with the request. */
  async answer(request: PullMessageRequest, call: Call): Promise<readonly PullMessageResponse[]> {
    const { clock, clients, gateway } = this.#edge;
    const caller = callerOf(call);
    clients.touch(caller);
    const nowMs = clock.monotonicMs();
    const { longPollingTimeout: asked } = request;
    const polling = pollingTime({
      askedMs: asked === null ? 0 : millisOf(asked, 'long_polling_timeout'),
      leftMs: this.#open.deadlineMs - nowMs,
      settings: clients.get(caller.clientId)?.settings,
      version: caller.version,
    });
    groupKey(request.group, caller);
    const filter = compileFilter(filterOf(request.filterExpression));
    const deadlineMs = this.#open.stepDeadlineMs;
    const queue = await findQueue(this.#edge, request.messageQueue, { caller, deadlineMs });
    const offset = offsetIn(request.offset);
    await checkOffset(gateway, { ...queue, offset }, deadlineMs);
    const countMax = Math.min(Math.max(request.batchSize, 1), consumingLimits.popCountMax);
    const scan = new Scan(this.#edge, queue, { filter, countMax }, offset);
    await this.#fill(scan, queue, nowMs + polling.waitMs);
    return this.#responses(scan, request.messageQueue!.topic!);
  }

  /** Reads until there is something, or the time is over. */
  async #fill(scan: Scan, queue: QueuePlace, untilMs: number): Promise<void> {
    const { clock, gateway } = this.#edge;
    let isGlance = untilMs - clock.monotonicMs() <= GLANCE_MS;
    for (;;) {
      await scan.look();
      const isEnough = scan.records.length > 0 || this.#open.isOver || this.#isDraining;
      if (isEnough) return;
      if (rangeOf(gateway, queue.topic, queue.queueId).max > scan.next) continue;
      if (isGlance) {
        // That nothing is there is believed only after catching up.
        isGlance = false;
        await gateway.readBarrier(this.#open.stepDeadlineMs);
        continue;
      }
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) return;
      await this.#sleep(queue, leftMs);
    }
  }

  /** Resolves at the next message of the queue, after `delayMs`, or when nobody waits any more. */
  async #sleep({ topic, queueId }: QueuePlace, delayMs: number): Promise<void> {
    const { clock, gateway } = this.#edge;
    if (this.#waiting.count >= WAITING_PULLS_MAX) throw new TLedgerError('OVERLOADED', 'polling full');
    this.#waiting.count++;
    let timer: Timer | undefined;
    let forget: (() => void) | undefined;
    try {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = clock.after(delayMs, resolve);
        forget = gateway.broker.onAppend(topic, queueId, resolve);
      });
    } finally {
      this.#waiting.count--;
      timer?.cancel();
      forget?.();
    }
  }

  #responses({ records, next }: Scan, topic: Resource): readonly PullMessageResponse[] {
    const storeHost = this.#edge.gateway.self.clientAddress;
    const nextOffset = String(next);
    if (records.length === 0) return [{ status: statusOfCode('MESSAGE_NOT_FOUND', 'no new message') }, { nextOffset }];
    const messages = records.map((record) => ({
      message: outgoingMessage(record, { topic, storeHost, delivery: null }),
    }));
    return [{ status: okStatus }, ...messages, { nextOffset }];
  }
}

/** What a pull has found, and how far it has looked. */
class Scan {
  readonly records: Buffer[] = [];
  next: QueueOffset;
  readonly #edge: Edge;
  readonly #queue: QueuePlace;
  readonly #filter: MessageFilter;
  readonly #countMax: number;
  #bytes = 0;

  constructor(
    edge: Edge,
    queue: QueuePlace,
    { filter, countMax }: { readonly filter: MessageFilter; readonly countMax: number },
    from: QueueOffset,
  ) {
    this.#edge = edge;
    this.#queue = queue;
    this.#filter = filter;
    this.#countMax = countMax;
    this.next = from;
  }

  /** Reads on; what the filter leaves out is passed over. */
  async look(): Promise<void> {
    while (this.records.length < this.#countMax && this.#bytes < PULL_BYTES_MAX) {
      const countMax = this.#filter.takesAll ? this.#countMax - this.records.length : SCAN_COUNT;
      const bytesMax = PULL_BYTES_MAX - this.#bytes;
      const page = await pullSome(this.#edge.gateway, { ...this.#queue, offset: this.next, countMax, bytesMax });
      if (page === null) return;
      for (let at = 0; at < page.records.length && this.records.length < this.#countMax; ) {
        const record = page.records.subarray(at, at + sizeAt(page.records, at));
        at += record.length;
        this.next = queueOffset(this.next + 1);
        if (!isWanted(record, this.#filter)) continue;
        this.records.push(record);
        this.#bytes += record.length;
      }
    }
  }
}
