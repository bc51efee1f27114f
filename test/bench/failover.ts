// How long nobody is served when the leader goes: `npm run bench:failover -- [--trials 50] [--kind kill|partition|transfer]
// [--nodes 3] [--rate 400] [--format text|json]`. Real processes under a moderate load; a gap is the longest silence
// between two acknowledgements around the fault. Ends with a check that nothing acknowledged was lost.
import { parseArgs } from 'node:util';
import { TLedgerClient } from '../../src/client/index.ts';
import { GapMeter } from '../../src/server/demo/gap_meter.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { History } from '../chaos/history.ts';
import { isFaultless, judge } from '../chaos/judge.ts';
import { Leaders } from '../chaos/leaders.ts';
import { Load } from '../chaos/load.ts';
import { CLIENTS, Network } from '../chaos/network.ts';
import { pause, until } from '../chaos/pause.ts';
import { readLog, verifyReplicas } from '../chaos/replicas.ts';

const { values } = parseArgs({
  options: {
    trials: { type: 'string', default: '50' },
    kind: { type: 'string', default: 'kill' },
    nodes: { type: 'string', default: '3' },
    rate: { type: 'string', default: '400' },
    format: { type: 'string', default: 'text' },
  },
});

const TOPIC = 'failover';
const QUEUES = 4;
const PRODUCERS = 2;
const WINDOW = 32;
const TIMEOUT_MS = 30_000;
/** Load between two trials, so that each begins in calm, and acknowledgements that prove the group serves again. */
const CALM_MS = 500;
const SERVED_COUNT = 50;

const kinds = {
  kill: 'kill -9 of the leader',
  partition: 'the leader cut off from members and clients',
  transfer: 'leadership handed over',
} as const;
if (!Object.hasOwn(kinds, values.kind)) throw new Error(`--kind is one of ${Object.keys(kinds).join(', ')}`);
const kind = values.kind as keyof typeof kinds;

const network = new Network();
const history = new History(QUEUES);
const meter = new GapMeter();
const cluster = await LocalCluster.start({
  nodes: Number(values.nodes),
  settings: { segmentSizeBytes: '64MiB' },
  // Proxies only where something is to be cut: they cost a little.
  ...(kind === 'partition' ? { routes: (members) => network.open(members) } : {}),
});
const client = new TLedgerClient({ endpoints: cluster.endpoints });
const leaders = new Leaders(cluster.members, history);
const load = new Load({
  endpoints:
    kind === 'partition' ? cluster.members.map(({ nodeId }) => network.clientAddress(nodeId)) : cluster.endpoints,
  topic: TOPIC,
  history,
  ratePerSender: Number(values.rate) / PRODUCERS,
  onAcknowledged: (nowMs) => meter.acknowledged(nowMs),
});

/** Does the harm; resolves with how to undo it. */
async function harm(leader: string): Promise<() => Promise<void>> {
  switch (kind) {
    case 'kill':
      await cluster.kill(leader);
      return () => cluster.restart(leader);
    case 'partition': {
      const others = cluster.members.map(({ nodeId }) => nodeId).filter((nodeId) => nodeId !== leader);
      const heal = network.cut([leader], [...others, CLIENTS]);
      return async () => heal();
    }
    case 'transfer':
      await client.admin.transferLeadership();
      return async () => {};
  }
}

async function trial(): Promise<number> {
  await pause(CALM_MS);
  const { current: leader, term } = leaders;
  if (leader === undefined) throw new Error('there is no leader');
  meter.open();
  const undo = await harm(leader);
  if (!(await leaders.after(term, TIMEOUT_MS))) throw new Error(`no new leader within ${TIMEOUT_MS} ms`);
  const enough = meter.acknowledgedInWindow + SERVED_COUNT;
  if (!(await until(() => meter.acknowledgedInWindow >= enough, TIMEOUT_MS))) throw new Error('no service');
  const gapMs = Math.round(meter.close());
  await undo();
  const agreement = await verifyReplicas(client, TIMEOUT_MS);
  if (!agreement.identical) throw new Error(`the replicas do not agree: ${agreement.why}`);
  return gapMs;
}

const gaps: number[] = [];
let isClean = false;
try {
  await cluster.waitForLeader();
  await client.admin.createTopic(TOPIC, { queues: QUEUES });
  await until(() => leaders.current !== undefined, TIMEOUT_MS);
  for (let at = 0; at < PRODUCERS; at++) load.startProducer({ window: WINDOW });
  for (let at = 1; at <= Number(values.trials); at++) {
    gaps.push(await trial());
    console.error(`trial ${String(at).padStart(3)}: ${gaps.at(-1)} ms`);
  }
  await load.stop();
  const verdict = judge(history, await readLog(client, TOPIC, QUEUES));
  isClean = isFaultless(verdict);
  for (const example of verdict.examples) console.error(example);
} finally {
  await Promise.race([load.stop(), pause(TIMEOUT_MS)]);
  await leaders.close();
  await client.close();
  await cluster.stop();
  await network.close();
}

const sorted = [...gaps].sort((a, b) => a - b);
const percentile = (share: number): number => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
const report = {
  kind,
  ...{ nodes: cluster.members.length, trials: gaps.length },
  ...{ medianMs: percentile(0.5), p90Ms: percentile(0.9), p99Ms: percentile(0.99), maxMs: percentile(1) },
  acknowledged: history.acknowledged,
  clean: isClean,
};
if (values.format === 'json') console.log(JSON.stringify(report));
else {
  console.log(`${kinds[kind]}, ${report.nodes} nodes, ${report.trials} trials:`);
  console.log(
    `  without service: median ${report.medianMs} ms, 90 % ${report.p90Ms} ms, 99 % ${report.p99Ms} ms, longest ${report.maxMs} ms`,
  );
  console.log(
    `  ${report.acknowledged} messages acknowledged, ${isClean ? 'none lost, doubled or out of order' : 'PROMISES BROKEN'}`,
  );
}
process.exit(isClean ? 0 : 1);
