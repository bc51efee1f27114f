// What an idle group costs: `npm run bench:idle -- [--nodes 3] [--seconds 30] [--report reports/idle.json]`. Real processes
// that nobody asks anything; user and system time of each (/proc/<pid>/stat) as a share of one core. Exit code 0 only if
// every node stays below 1 %.
import { parseArgs } from 'node:util';
import { TLedgerClient } from '../../src/client/index.ts';
import { pause } from '../chaos/pause.ts';
import { builtCluster } from './built.ts';
import { areMet, type Goal, tableOf } from './goals.ts';
import { cpuMsOf, wakeUpsOf } from './processes.ts';
import { writeReport } from './script.ts';

/** Start-up work and the first compilations are over by then. */
const SETTLE_MS = 10_000;
const CORE_PERCENT_MAX = 1;

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '30' },
    report: { type: 'string', default: 'reports/idle.json' },
  },
});

const LocalCluster = await builtCluster();
const cluster = await LocalCluster.start({ nodes: Number(values.nodes) });
let goals: Goal[] = [];
try {
  const { nodeId: leader } = await cluster.waitForLeader();
  const client = new TLedgerClient({ endpoints: cluster.endpoints });
  await client.admin.createTopic('idle', { queues: 4 });
  await client.close();
  await pause(SETTLE_MS);
  const pids = cluster.members.map(({ nodeId }) => ({ nodeId, pid: cluster.pidOf(nodeId) }));
  const before = pids.map(({ pid }) => ({ cpuMs: cpuMsOf(pid), wakeUps: wakeUpsOf(pid) }));
  const begunMs = performance.now();
  await pause(Number(values.seconds) * 1_000);
  const passedSeconds = (performance.now() - begunMs) / 1_000;
  goals = pids.flatMap(({ nodeId, pid }, at) => {
    const who = `${nodeId} (${nodeId === leader ? 'leader' : 'follower'})`;
    const percent = ((cpuMsOf(pid) - before[at]!.cpuMs) / 1_000 / passedSeconds) * 100;
    const wakeUps = (wakeUpsOf(pid) - before[at]!.wakeUps) / passedSeconds;
    return [
      { what: who, value: Number(percent.toFixed(2)), most: CORE_PERCENT_MAX, unit: '% of a core' },
      { what: `${who}: main thread woken`, value: Math.round(wakeUps), unit: 'times a second' },
    ];
  });
} finally {
  await cluster.stop();
}
writeReport(values.report, { seconds: Number(values.seconds), goals });
console.log(`idle for ${values.seconds} s, nobody asks anything:`);
console.log(tableOf(goals));
process.exit(areMet(goals) ? 0 : 1);
