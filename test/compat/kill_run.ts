// The official client under load while leaders are killed: producers, and push consumers of a standard and of an ordered
// group, none of which is started again. What was acknowledged to a producer must be consumed, in order where there is one;
// what a consumer had acknowledged must not come again; and no retry of a producer may store a message twice.
import type { Producer, PushConsumer } from 'rocketmq-client-nodejs';
import { SeededRandom } from '../../src/base/random.ts';
import { pause } from '../chaos/pause.ts';
import { ConsumeResult, type MessageView, Stage, until } from './clients.ts';
import { Killer } from './killer.ts';

/** How long, how often, how much. */
export interface KillRunOptions {
  readonly seconds: number;
  readonly killEveryMs: number;
  /** From one message of a producer to its next. */
  readonly paceMs: number;
  /** The node that is never killed; every node may be by default. */
  readonly spared?: string;
  /** Decides which messages consumers fail at. */
  readonly seed: number;
  readonly onLine?: (line: string) => void;
}

/** What came of it. */
export interface KillReport {
  readonly kills: number;
  readonly acknowledged: number;
  /** Sends that failed: such a message may exist. */
  readonly unknown: number;
  readonly consumed: number;
  readonly redelivered: number;
  /** The longest time from a message's acknowledgement to its first delivery, by kind of topic. */
  readonly waitedMsMax: { readonly standard: number; readonly ordered: number };
  readonly broken: readonly string[];
}

/** What is invisible to all since its delivery was lost comes back after 60 s. */
const DRAIN_MS = 100_000;
const PRODUCERS = 3;
const MESSAGE_GROUPS = 8;
/** Of so many deliveries one fails. */
const FAILING_ONE_OF = 50;
const QUEUES = 4;

/** Runs it. */
export async function runUnderKills(options: KillRunOptions): Promise<KillReport> {
  const stage = await Stage.start();
  try {
    return await new KillRun(stage, options).run();
  } finally {
    await stage.stop();
  }
}

/** One kind of topic with its group. */
class Lane {
  readonly topic: string;
  readonly isOrdered: boolean;
  /** Bodies that were acknowledged to the producer, and when. */
  readonly sent = new Map<string, number>();
  unknown = 0;
  /** Bodies that came, and when first. */
  readonly seen = new Map<string, number>();
  redelivered = 0;
  /** Message ids whose acknowledgement was answered with OK. */
  readonly acked = new Set<string>();
  /** By message group, the number that came last as a new one. */
  readonly #last = new Map<string, number>();
  readonly #broken: (what: string) => void;

  constructor(topic: string, isOrdered: boolean, broken: (what: string) => void) {
    this.topic = topic;
    this.isOrdered = isOrdered;
    this.#broken = broken;
  }

  get missing(): string[] {
    return [...this.sent.keys()].filter((body) => !this.seen.has(body));
  }

  /** How long the message waited for its consumer that waited longest. */
  get waitedMsMax(): number {
    let maxMs = 0;
    for (const [body, seenMs] of this.seen) maxMs = Math.max(maxMs, seenMs - (this.sent.get(body) ?? seenMs));
    return maxMs;
  }

  /** A delivery reached a consumer. */
  delivered({ messageId, body: bytes, messageGroup, deliveryAttempt }: MessageView): void {
    const body = bytes.toString();
    if (body === 'farewell') return;
    if (this.acked.has(messageId)) this.#broken(`${body} came again (attempt ${deliveryAttempt}), acknowledged before`);
    if (this.seen.has(body)) {
      this.redelivered++;
      return;
    }
    this.seen.set(body, Date.now());
    if (!this.isOrdered) return;
    const number = Number(body.split('-').at(-1));
    const last = this.#last.get(messageGroup!) ?? -1;
    if (number < last) this.#broken(`${body} came after number ${last} of its group`);
    this.#last.set(messageGroup!, Math.max(last, number));
  }
}

class KillRun {
  readonly #stage: Stage;
  readonly #options: KillRunOptions;
  readonly #broken: string[] = [];
  readonly #lanes: Lane[] = [];
  readonly #stopping = new AbortController();

  constructor(stage: Stage, options: KillRunOptions) {
    this.#stage = stage;
    this.#options = options;
  }

  async run(): Promise<KillReport> {
    const { seconds, killEveryMs, spared, onLine = () => {} } = this.#options;
    const loads = [...(await this.#begin(false)), ...(await this.#begin(true))];
    const onKill = (nodeId: string): void => onLine(`kill ${nodeId}: ${this.#figures()}`);
    const killing = { everyMs: killEveryMs, onKill, ...(spared === undefined ? {} : { spared }) };
    const killer = new Killer(this.#stage.cluster, this.#stage.admin.admin, killing);
    await pause(seconds * 1_000);
    await killer.stop();
    this.#stopping.abort();
    await Promise.all(loads);
    onLine(`drain: ${this.#figures()}`);
    await until('everything acknowledged is consumed', () => this.#isDrained(), DRAIN_MS).catch(() => {});
    for (const lane of this.#lanes) await this.#judge(lane);
    const sum = (of: (lane: Lane) => number): number => this.#lanes.reduce((total, lane) => total + of(lane), 0);
    return {
      kills: killer.kills,
      acknowledged: sum(({ sent }) => sent.size),
      unknown: sum(({ unknown }) => unknown),
      consumed: sum(({ seen }) => seen.size),
      redelivered: sum(({ redelivered }) => redelivered),
      waitedMsMax: { standard: this.#lanes[0]!.waitedMsMax, ordered: this.#lanes[1]!.waitedMsMax },
      broken: this.#broken,
    };
  }

  /** A topic with its group, consumers and producers. @returns the loads, each until it has ended. */
  async #begin(isOrdered: boolean): Promise<Promise<void>[]> {
    const stage = this.#stage;
    const topic = await stage.topic(isOrdered ? 'fifo' : 'normal', QUEUES);
    const lane = new Lane(topic, isOrdered, (what) => this.#broken.push(what));
    this.#lanes.push(lane);
    const consumerGroup = await stage.group({ fifo: isOrdered });
    const random = new SeededRandom(this.#options.seed + (isOrdered ? 1 : 0));
    for (let at = 0; at < 2; at++) {
      const consume = async (message: MessageView): Promise<ConsumeResult> => {
        lane.delivered(message);
        return random.next() < 1 / FAILING_ONE_OF ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
      };
      watchAcks(await stage.push(topic, consume, { consumerGroup, endpoints: this.#endpoint(at + 1) }), lane);
    }
    const producers = await Promise.all(
      Array.from({ length: PRODUCERS }, (_, at) => stage.producer({ topic, endpoints: this.#endpoint(at) })),
    );
    return producers.map((producer, at) => this.#produce(lane, producer, `p${at}`));
  }

  /** Clients are spread over all nodes, unless one is spared. */
  #endpoint(at: number): string {
    const { members } = this.#stage.cluster;
    const spared = members.findIndex(({ nodeId }) => nodeId === this.#options.spared);
    return this.#stage.endpoint(spared === -1 ? at % members.length : spared);
  }

  async #produce(lane: Lane, producer: Producer, name: string): Promise<void> {
    const { signal } = this.#stopping;
    for (let number = 0; !signal.aborted; number++) {
      const messageGroup = `${name}-${number % MESSAGE_GROUPS}`;
      const body = `${messageGroup}-${number}`;
      const order = lane.isOrdered ? { messageGroup } : {};
      try {
        await producer.send({ topic: lane.topic, body: Buffer.from(body), ...order });
        lane.sent.set(body, Date.now());
        await pause(this.#options.paceMs);
      } catch {
        lane.unknown++;
        await pause(250);
      }
    }
  }

  #isDrained(): boolean {
    return this.#lanes.every((lane) => lane.missing.length === 0);
  }

  async #judge(lane: Lane): Promise<void> {
    const kind = lane.isOrdered ? 'ordered' : 'standard';
    const { missing } = lane;
    if (missing.length > 0) {
      this.#broken.push(`${missing.length} acknowledged ${kind} messages were not consumed: ${missing.slice(0, 5)}`);
    }
    const bodies = await storedBodies(this.#stage, lane.topic);
    const stored = new Set<string>();
    for (const body of bodies) {
      if (stored.has(body)) this.#broken.push(`${body} is stored twice`);
      stored.add(body);
    }
    const lost = [...lane.sent.keys()].filter((body) => !stored.has(body));
    if (lost.length > 0) this.#broken.push(`${lost.length} acknowledged ${kind} messages are not stored`);
  }

  #figures(): string {
    return this.#lanes
      .map(
        ({ isOrdered, sent, unknown, seen, redelivered }) =>
          `${isOrdered ? 'ordered' : 'standard'} ${sent.size} acknowledged, ${unknown} unknown, ${seen.size} consumed, ${redelivered} again`,
      )
      .join('; ');
  }
}

/** Notes the acknowledgements of a consumer that were answered with OK. */
function watchAcks(consumer: PushConsumer, { acked }: Lane): void {
  const acknowledge = consumer.ackMessageViaRpc.bind(consumer);
  consumer.ackMessageViaRpc = async (endpoints, request, timeout) => {
    const response = await acknowledge(endpoints, request, timeout);
    const isOk = response.getStatus()?.getCode() === 20_000;
    if (isOk) for (const entry of request.getEntriesList()) acked.add(entry.getMessageId());
    return response;
  };
}

async function storedBodies(stage: Stage, topic: string): Promise<string[]> {
  const bodies: string[] = [];
  for (let queue = 0; queue < QUEUES; queue++) {
    for (let offset = 0; ; ) {
      const { messages, nextOffset } = await stage.admin.pull({ topic, queue, offset, countMax: 512 });
      // A node that was just started knows less than all: only an empty answer, made after catching up, is an end.
      if (messages.length === 0) break;
      bodies.push(...messages.map(({ body }) => body.toString()).filter((body) => body !== 'farewell'));
      offset = nextOffset;
    }
  }
  return bodies;
}
