// `npm run bench:official -- [--seconds 10] [--warm-up 3] [--in-flight 32] [--size 1024] [--receivers 2] [--node leader]`: the
// official client sends, receives and acknowledges, one producer and one consumer in this process, three nodes of the build
// in processes of their own. Closed loop: so many sends under way, each receiver acknowledges all of one answer at once and
// asks for the next. Prints one JSON document: rates, latencies, and CPU of each process per message that went all the way.
import { parseArgs } from 'node:util';
import { type MessageView, Producer, SimpleConsumer } from 'rocketmq-client-nodejs';
import { LatencyHistogram } from '../../src/bench/meter.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import { builtCluster } from '../bench/built.ts';
import { machineNow } from '../bench/machine.ts';
import { cpuMsOf } from '../bench/processes.ts';
import { pause } from '../chaos/pause.ts';
import { silent } from './clients.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    'warm-up': { type: 'string', default: '3' },
    'in-flight': { type: 'string', default: '32' },
    size: { type: 'string', default: '1024' },
    receivers: { type: 'string', default: '2' },
    /** `leader`, or another node's id: whom the clients dial. */
    node: { type: 'string', default: 'leader' },
  },
});
const [seconds, inFlight, receivers] = [Number(values.seconds), Number(values['in-flight']), Number(values.receivers)];
const TOPIC = 'official';
/** Messages that a receiver asks for: as many as a node gives. */
const RECEIVE_COUNT = 32;
const INVISIBLE_MS = 30_000;

const machine = machineNow();
const cluster = await (await builtCluster()).start();
const { nodeId: leader } = await cluster.waitForLeader();
const dialled = values.node === 'leader' ? leader : values.node;
const admin = new TLedgerClient({ endpoints: cluster.endpoints });
await admin.admin.createTopic(TOPIC, { queues: 4 });
await admin.close();

const endpoints = cluster.members.find(({ nodeId }) => nodeId === dialled)!.clientAddress;
const common = { endpoints, namespace: '', logger: silent };
const producer = new Producer({ ...common, topic: TOPIC });
const subscriptions = new Map([[TOPIC, '*']]);
const consumer = new SimpleConsumer({ ...common, consumerGroup: 'official', awaitDuration: 5_000, subscriptions });
await Promise.all([producer.startup(), consumer.startup()]);

const counts = { sent: 0, received: 0, acknowledged: 0, failed: 0 };
const latencies = {
  send: new LatencyHistogram(),
  acknowledge: new LatencyHistogram(),
  endToEnd: new LatencyHistogram(),
};
let isOver = false;
const loops = [
  ...Array.from({ length: inFlight }, () => sendOn()),
  ...Array.from({ length: receivers }, () => receiveOn()),
];
await pause(Number(values['warm-up']) * 1_000);
for (const histogram of Object.values(latencies)) histogram.reset();
const before = { ...counts, cpu: cpuMicros(), atMs: performance.now() };
await pause(seconds * 1_000);
const cpu = cpuMicros();
const passedSeconds = (performance.now() - before.atMs) / 1_000;
const rateOf = (kind: keyof typeof counts) => Math.round((counts[kind] - before[kind]) / passedSeconds);
const rates = { sent: rateOf('sent'), received: rateOf('received'), acknowledged: rateOf('acknowledged') };
const done = Math.max(1, counts.acknowledged - before.acknowledged);
const cpuMicrosPerMessage = Object.fromEntries(
  Object.entries(cpu).map(([who, micros]) => [who, Number(((micros - before.cpu[who]!) / done).toFixed(1))]),
);
const { failed } = counts;
const settings = { seconds, inFlight, receivers, sizeBytes: Number(values.size), dialled, leader };
const [send, acknowledge, endToEnd] = Object.values(latencies).map((histogram) => histogram.latencies());
const report = { machine, settings, perSecond: rates, failed, cpuMicrosPerMessage };
console.log(JSON.stringify({ ...report, latencyMs: { send, acknowledge, endToEnd } }, null, 2));
isOver = true;
await Promise.all(loops);
await Promise.all([producer.shutdown(), consumer.shutdown()]);
await cluster.stop();
process.exit(failed === 0 ? 0 : 1);

async function sendOn(): Promise<void> {
  const padding = 'x'.repeat(Number(values.size));
  while (!isOver) {
    const beganAtMs = performance.now();
    const body = Buffer.from(`${beganAtMs} ${padding}`.slice(0, Number(values.size)));
    const isSent = await well(producer.send({ topic: TOPIC, body }));
    if (!isSent) continue;
    counts.sent++;
    latencies.send.record(performance.now() - beganAtMs);
  }
}

async function receiveOn(): Promise<void> {
  while (!isOver) {
    let messages: MessageView[] = [];
    await well(
      consumer.receive(RECEIVE_COUNT, INVISIBLE_MS).then((found) => {
        messages = found;
      }),
    );
    counts.received += messages.length;
    const nowMs = performance.now();
    for (const { body } of messages)
      latencies.endToEnd.record(nowMs - Number.parseFloat(body.toString('latin1', 0, 24)));
    await Promise.all(messages.map(settle));
  }
}

async function settle(message: MessageView): Promise<void> {
  const beganAtMs = performance.now();
  if (!(await well(consumer.ack(message)))) return;
  counts.acknowledged++;
  latencies.acknowledge.record(performance.now() - beganAtMs);
}

/** Whether it went well; a failure is counted, and told the first time. */
async function well(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (counts.failed++ === 0) console.error(error);
    return false;
  }
}

/** Processor time so far, of each process. */
function cpuMicros(): Record<string, number> {
  const { user, system } = process.cpuUsage();
  const all: Record<string, number> = { client: user + system };
  for (const { nodeId } of cluster.members) all[nodeId] = 1_000 * cpuMsOf(cluster.pidOf(nodeId));
  return all;
}
