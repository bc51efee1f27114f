// How fast a local three-node group takes messages: `npm run bench -- [--seconds 5] [--size 1024] [--format json]`.
// Real processes of the build in dist, flush sync, client and nodes on this machine. Shapes: frames of encoded records,
// single sends that the client coalesces, unary calls, and reading it all back. Closed loop; figures are of one run and
// one machine.
import { parseArgs } from 'node:util';
import { Client, credentials } from '@grpc/grpc-js';
import type { TLedgerClient } from '../../src/client/index.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { clientChannelOptions } from '../../src/wire/channel_options.ts';
import { ledgerService } from '../../src/wire/services.ts';
import { builtClient, builtCluster } from './built.ts';

const QUEUES = 4;
const WARM_UP_MS = 1_500;
const TOPIC = 'bench';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    size: { type: 'string', default: '1024' },
    flush: { type: 'string', default: 'sync' },
    format: { type: 'string', default: 'text' },
  },
});
const measureMs = Number(options.seconds) * 1_000;
const body = Buffer.alloc(Number(options.size), 'x');

interface Figures {
  readonly shape: string;
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
}

/** One request of a shape: calls back with its failure, or with how many messages it carried. */
type Step = (done: (error: unknown, messages: number) => void) => void;

/** Keeps `inFlight` steps going, and counts those that end in the measured time. */
async function measure(shape: string, inFlight: number, step: Step): Promise<Figures> {
  let isMeasuring = false;
  let isOver = false;
  let running = 0;
  let messages = 0;
  let errors = 0;
  const latencies: number[] = [];
  let whenIdle: () => void = () => {};
  const idle = new Promise<void>((resolve) => {
    whenIdle = resolve;
  });
  const run = (): void => {
    const begunMs = performance.now();
    running++;
    step((error, count) => {
      running--;
      if (isMeasuring) {
        messages += count;
        if (error !== null && error !== undefined) errors++;
        latencies.push(performance.now() - begunMs);
      }
      if (!isOver) run();
      else if (running === 0) whenIdle();
    });
  };
  for (let at = 0; at < inFlight; at++) run();
  await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS));
  isMeasuring = true;
  const begunMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, measureMs));
  const passedMs = performance.now() - begunMs;
  isMeasuring = false;
  isOver = true;
  await idle;
  latencies.sort((a, b) => a - b);
  const percentile = (share: number): number =>
    Number((latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(2));
  return {
    shape,
    messagesPerSecond: Math.round((messages / passedMs) * 1_000),
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
    errors,
  };
}

async function framesOf(client: TLedgerClient, count: number, inFlight: number): Promise<Figures> {
  const producer = client.producer({ windowFramesMax: inFlight, windowBytesMax: 16 * 1024 * 1024 });
  const frames = Array.from({ length: QUEUES }, (_, queueId) => {
    const record = encodeMessageRecord({ topic: TOPIC, queueId, body, bornAtMs: Date.now() });
    return Buffer.concat(Array.from({ length: count }, () => record));
  });
  let next = 0;
  const figures = await measure(`stream, frames of ${count}, ${inFlight} in flight`, inFlight, (done) => {
    const queue = next++ % QUEUES;
    producer.sendRecords(TOPIC, queue, frames[queue]!, count).then(
      () => done(null, count),
      (error: unknown) => done(error, 0),
    );
  });
  await producer.close();
  return figures;
}

async function singlesOf(client: TLedgerClient, inFlight: number): Promise<Figures> {
  const producer = client.producer();
  const figures = await measure(`single sends, ${inFlight} in flight`, inFlight, (done) => {
    producer.append({ topic: TOPIC, body }, (error) => done(error, error === null ? 1 : 0));
  });
  await producer.close();
  return figures;
}

async function unaryOf(addresses: readonly string[], inFlight: number, name: string): Promise<Figures> {
  const { path, requestSerialize, responseDeserialize } = ledgerService.append;
  const clients = addresses.map((address) => new Client(address, credentials.createInsecure(), clientChannelOptions));
  const records = encodeMessageRecord({ topic: TOPIC, queueId: 0, body, bornAtMs: Date.now() });
  const request = { topic: TOPIC, queue: 0, producerId: '', sequence: 0, records };
  let next = 0;
  const figures = await measure(`unary ${name}, ${inFlight} in flight`, inFlight, (done) => {
    const client = clients[next++ % clients.length]!;
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error) =>
      done(error, error === null ? 1 : 0),
    );
  });
  for (const client of clients) client.close();
  return figures;
}

async function consumed(client: TLedgerClient): Promise<Figures> {
  const begunMs = performance.now();
  let messages = 0;
  for await (const batch of client.consumeBatches({ topic: TOPIC, untilEnd: true })) messages += batch.messages.length;
  const passedMs = performance.now() - begunMs;
  return {
    shape: 'consume, all queues',
    messagesPerSecond: Math.round((messages / passedMs) * 1_000),
    p50Ms: 0,
    p99Ms: 0,
    errors: 0,
  };
}

function print(figures: Figures): void {
  if (options.format === 'json') console.log(JSON.stringify(figures));
  else {
    const rate = figures.messagesPerSecond.toLocaleString('en').padStart(10);
    console.log(
      `${figures.shape.padEnd(44)} ${rate}/s   p50 ${figures.p50Ms} ms   p99 ${figures.p99Ms} ms   errors ${figures.errors}`,
    );
  }
}

const LocalCluster = await builtCluster();
const ClientOfBuild = await builtClient();
const cluster = await LocalCluster.start({ settings: { flush: options.flush } });
try {
  const { nodeId } = await cluster.waitForLeader();
  const leaderAddress = cluster.members.find((member) => member.nodeId === nodeId)!.clientAddress;
  const client = new ClientOfBuild({ endpoints: cluster.endpoints });
  await client.admin.createTopic(TOPIC, { queues: QUEUES });
  print(await framesOf(client, 256, 16));
  print(await framesOf(client, 64, 16));
  for (const inFlight of [1, 128, 1_024]) print(await singlesOf(client, inFlight));
  print(await unaryOf([leaderAddress], 128, 'to the leader'));
  print(await unaryOf(cluster.endpoints, 128, 'spread over three nodes'));
  print(await consumed(client));
  await client.close();
} finally {
  await cluster.stop();
}
