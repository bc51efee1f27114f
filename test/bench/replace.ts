// How long nobody is served while every member of a running group is replaced, one after another, under load:
// `npm run bench:replace -- [--nodes 3] [--rounds 1] [--rate 400] [--report reports/replace.json]`. Each round replaces all
// members there are. Exit code 0 only if no step costs more than the shortest election timeout, nothing that was
// acknowledged is lost, and in the end the group consists of the new members alone.
import { parseArgs } from 'node:util';
import { TLedgerClient } from '../../src/client/index.ts';
import { GapMeter } from '../../src/server/demo/gap_meter.ts';
import { History } from '../chaos/history.ts';
import { isFaultless, judge } from '../chaos/judge.ts';
import { Load } from '../chaos/load.ts';
import { pause, until } from '../chaos/pause.ts';
import { readLog, verifyReplicas } from '../chaos/replicas.ts';
import { builtCluster } from './built.ts';
import { areMet, type Goal, tableOf } from './goals.ts';
import { writeReport } from './script.ts';

const TOPIC = 'replaced';
const QUEUES = 4;
const PRODUCERS = 2;
const WINDOW = 32;
const TIMEOUT_MS = 60_000;
/** Processes that have just been started are slow. */
const WARM_UP_MS = 3_000;
/** Load behind each step, which belongs to it: what a step leaves behind is felt then. */
const AFTER_MS = 1_000;
/** The default of `electionTimeoutMsMin`. */
const GAP_MS_MAX = 500;

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '1' },
    rate: { type: 'string', default: '400' },
    report: { type: 'string', default: 'reports/replace.json' },
  },
});

const LocalCluster = await builtCluster();
const cluster = await LocalCluster.start({
  nodes: Number(values.nodes),
  settings: { segmentSizeBytes: '64MiB' },
});
const history = new History(QUEUES);
const meter = new GapMeter();
const load = new Load({
  // Clients are told of the first members only: they learn of all others.
  endpoints: cluster.endpoints,
  topic: TOPIC,
  history,
  ratePerSender: Number(values.rate) / PRODUCERS,
  onAcknowledged: (nowMs) => meter.acknowledged(nowMs),
});
const client = new TLedgerClient({ endpoints: cluster.endpoints });
const goals: Goal[] = [];
const broken: string[] = [];

/** @returns the longest silence while `old` is replaced by `fresh` and ended. */
async function replace(old: string, fresh: string): Promise<number> {
  meter.open();
  const { clientAddress, peerAddress } = await cluster.startJoining(fresh);
  const addresses = { client: clientAddress, peer: peerAddress };
  await client.admin.changeMembers(
    { kind: 'add', nodeId: fresh, addresses, replaces: old },
    { timeoutMs: TIMEOUT_MS, onProgress: (text) => console.error(`  ${text}`) },
  );
  await cluster.forget(old);
  await pause(AFTER_MS);
  return Math.round(meter.close());
}

async function replaceAll(): Promise<void> {
  let hired = 0;
  for (let round = 1; round <= Number(values.rounds); round++) {
    const { membership } = await client.admin.clusterStatus();
    for (const { nodeId: old } of membership!.members) {
      const isLeader = (await cluster.waitForLeader()).nodeId === old;
      const what = `${old}${isLeader ? ', the leader,' : ''} by j${hired}`;
      console.error(`${what}:`);
      const gapMs = await replace(old, `j${hired++}`);
      console.error(`  longest silence ${gapMs} ms`);
      goals.push({ what, value: gapMs, most: GAP_MS_MAX, unit: 'ms' });
    }
  }
}

async function checkEnd(): Promise<void> {
  await load.stop();
  const { membership } = await client.admin.clusterStatus();
  const left = membership!.members.filter(({ nodeId }) => !nodeId.startsWith('j'));
  if (left.length > 0) broken.push(`${left.map(({ nodeId }) => nodeId)} are members still`);
  const verdict = judge(history, await readLog(client, TOPIC, QUEUES));
  if (!isFaultless(verdict)) broken.push(...verdict.examples);
  const agreement = await verifyReplicas(client, TIMEOUT_MS);
  if (!agreement.identical) broken.push(`the replicas do not agree: ${agreement.why}`);
}

try {
  await cluster.waitForLeader();
  await client.admin.createTopic(TOPIC, { queues: QUEUES });
  for (let at = 0; at < PRODUCERS; at++) load.startProducer({ window: WINDOW });
  await until(() => history.acknowledged > 0, TIMEOUT_MS);
  await pause(WARM_UP_MS);
  await replaceAll();
  await checkEnd();
} finally {
  await Promise.race([load.stop(), pause(TIMEOUT_MS)]);
  await client.close();
  await cluster.stop();
}
const refusals = Object.fromEntries(load.codes);
writeReport(values.report, { nodes: Number(values.nodes), goals, refusals, broken });
console.log(`longest silence while a member is replaced, ${values.rate} messages a second:`);
console.log(tableOf(goals));
const told =
  load.codes.size === 0 ? 'no sender was told of a failure' : `senders were told ${JSON.stringify(refusals)}`;
console.log(`${history.acknowledged} messages acknowledged; ${told}`);
for (const one of broken) console.log(`PROMISE BROKEN: ${one}`);
process.exit(areMet(goals) && broken.length === 0 ? 0 : 1);
