// `npm run test:compat:delay -- [--per-second 1000] [--seconds 20] [--pending 100000]`: how punctual delayed messages are, also
// while a leader is killed; and that those that wait outlive a restart of all nodes. Exit code 0 only if no message was
// early or lost, and 99 % of them came within 100 ms after they were due (but for what a change of leaders takes).
import { parseArgs } from 'node:util';
import type { Message } from '../../src/wire/rocketmq/definitions.ts';
import { pause } from '../chaos/pause.ts';
import { messageOf, RawClient } from '../rpc/rocketmq/client.ts';
import { Stage } from './clients.ts';

const { values } = parseArgs({
  options: {
    'per-second': { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '20' },
    pending: { type: 'string', default: '100000' },
  },
});
const perSecond = Number(values['per-second']);
const seconds = Number(values.seconds);
/** So long before they are due the first are sent. */
const LEAD_MS = 5_000;
const SENDERS = 64;
const RECEIVERS = 8;
const PUNCTUAL_MS = 100;

/** One round of messages with due times, and when each came. */
class Round {
  readonly #topic: string;
  readonly #lateMs = new Map<string, number>();
  readonly #doubles: string[] = [];
  readonly #clients: RawClient[];
  #isOver = false;
  #sent = 0;

  constructor(stage: Stage, topic: string) {
    this.#topic = topic;
    this.#clients = Array.from({ length: RECEIVERS }, (_, at) => new RawClient(stage.endpoint(), `delay-${at}`));
  }

  get came(): number {
    return this.#lateMs.size;
  }

  /** Sends them all; repeated by hand until each is acknowledged. */
  async send(dueMs: (at: number) => number, count: number): Promise<void> {
    let next = 0;
    const work = async (client: RawClient): Promise<void> => {
      while (next < count) {
        const at = next++;
        const due = dueMs(at);
        const deliveryTimestamp = { seconds: String(Math.floor(due / 1_000)), nanos: (due % 1_000) * 1_000_000 };
        const message = messageOf(`m${at}`, { deliveryTimestamp }, { topic: { name: this.#topic } });
        for (;;) {
          const isSent = await client
            .send(message)
            .then(({ status }) => status?.code === 'OK')
            .catch(() => false);
          if (isSent) break;
          await pause(50);
        }
        this.#sent++;
      }
    };
    await Promise.all(Array.from({ length: SENDERS }, (_, at) => work(this.#clients[at % RECEIVERS]!)));
  }

  /** Receives until `finish`. */
  receive(): Promise<unknown> {
    return Promise.all(this.#clients.map((client) => this.#receive(client)));
  }

  async #receive(client: RawClient): Promise<void> {
    const group = { name: 'delay' };
    const topic = { name: this.#topic };
    const request = { messageQueue: { topic, id: -1 }, group, longPollingTimeout: { seconds: '2' } };
    while (!this.#isOver) {
      const messages = await client.messages({ ...request, invisibleDuration: { seconds: '10' } }).catch(() => null);
      if (messages === null) await pause(100);
      const nowMs = Date.now();
      for (const message of messages ?? []) this.#came(message, nowMs);
      const entries = (messages ?? []).map(({ systemProperties }) => ({
        messageId: systemProperties!.messageId,
        receiptHandle: systemProperties!.receiptHandle,
      }));
      if (entries.length > 0) void client.ask('ackMessage', { topic, group, entries }).catch(() => {});
    }
  }

  #came({ systemProperties }: Message, nowMs: number): void {
    const { messageId, deliveryTimestamp } = systemProperties!;
    const dueMs = Number(deliveryTimestamp!.seconds) * 1_000 + deliveryTimestamp!.nanos / 1_000_000;
    if (this.#lateMs.has(messageId)) this.#doubles.push(messageId);
    else this.#lateMs.set(messageId, nowMs - dueMs);
  }

  /** Waits for the rest. @returns whether all came, none early. */
  async finish(what: string, punctualShare: number, withinMs: number): Promise<boolean> {
    const untilMs = Date.now() + withinMs;
    while (this.came < this.#sent && Date.now() < untilMs) await pause(100);
    this.#isOver = true;
    await pause(2_500);
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    const late = [...this.#lateMs.values()].sort((a, b) => a - b);
    const early = late.filter((ms) => ms < 0).length;
    const share = late.filter((ms) => ms <= PUNCTUAL_MS).length / this.#sent;
    const at = (part: number): number => late[Math.min(late.length - 1, Math.floor(part * late.length))] ?? 0;
    const lost = this.#sent - late.length;
    console.log(`${what}: ${this.#sent} sent, ${lost} missing, ${early} early, ${this.#doubles.length} came again`);
    console.log(
      `  late: half ${at(0.5)} ms, 99 % ${at(0.99)} ms, all ${at(1)} ms; ${(100 * share).toFixed(2)} % within ${PUNCTUAL_MS} ms`,
    );
    return lost === 0 && early === 0 && share >= punctualShare;
  }
}

const spread =
  (beginMs: number, rate: number) =>
  (at: number): number =>
    beginMs + Math.floor((at * 1_000) / rate);
const results: boolean[] = [];
const stage = await Stage.start();

for (const isKilled of [false, true]) {
  const round = new Round(stage, await stage.topic('delay'));
  const receiving = round.receive();
  const count = perSecond * seconds;
  // All are sent before the first is due, however long that takes.
  const leadMs = LEAD_MS + count;
  const killing = isKilled ? pause(leadMs + (seconds * 1_000) / 2).then(killLeader) : Promise.resolve();
  await round.send(spread(Date.now() + leadMs, perSecond), count);
  await pause(seconds * 1_000);
  await killing;
  // A change of leaders holds back what is due meanwhile.
  const share = isKilled ? 0.99 - 2 / seconds : 0.99;
  results.push(await round.finish(isKilled ? 'across a killed leader' : 'in peace', share, leadMs + 120_000));
  await receiving;
}

const pending = Number(values.pending);
if (pending > 0) {
  const round = new Round(stage, await stage.topic('delay'));
  const leadMs = 30_000 + pending;
  await round.send(spread(Date.now() + leadMs, 5_000), pending);
  console.log(`${pending} are waiting; all nodes are killed and started again`);
  for (const { nodeId } of stage.cluster.members) await stage.cluster.kill(nodeId);
  await Promise.all(stage.cluster.members.map(({ nodeId }) => stage.cluster.restart(nodeId)));
  const receiving = round.receive();
  results.push(await round.finish('over a restart of all nodes', 0, leadMs + 240_000));
  await receiving;
}
await stage.stop();
process.exit(results.every((isGood) => isGood) ? 0 : 1);

async function killLeader(): Promise<void> {
  const { nodeId } = await stage.cluster.waitForLeader();
  if (nodeId === stage.cluster.members[0]!.nodeId) {
    // The clients' own node stays.
    await stage.admin.admin.transferLeadership(stage.cluster.members[1]!.nodeId).catch(() => {});
    await pause(200);
    return killLeader();
  }
  await stage.cluster.kill(nodeId);
  await pause(2_000);
  await stage.cluster.restart(nodeId);
}
