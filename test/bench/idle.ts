// What an idle group costs: `npm run bench:idle -- [--nodes 3] [--seconds 30] [--report reports/idle.json]`. Real processes
// that nobody asks anything; user and system time of each (/proc/<pid>/stat) as a share of one core. Exit code 0 only if
// every node stays below 1 %.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { TLedgerClient } from '../../src/client/index.ts';
import { pause } from '../chaos/pause.ts';
import { builtCluster } from './built.ts';
import { areMet, type Goal, tableOf } from './goals.ts';

/** USER_HZ: 100 on every Linux of the platforms that Node runs on. */
const TICKS_PER_SECOND = 100;
/** Fields 14 and 15 of proc(5) stat, counted behind the command's closing bracket. */
const UTIME_AT = 11;
const STIME_AT = 12;
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

function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[UTIME_AT]) + Number(fields[STIME_AT])) / TICKS_PER_SECOND;
}

/** How often a process gave up the processor by itself: about once for each time that something woke it. */
function wakeUpsOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(status)?.[1] ?? 0);
}

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
  const before = pids.map(({ pid }) => ({ cpu: cpuSecondsOf(pid), wakeUps: wakeUpsOf(pid) }));
  const begunMs = performance.now();
  await pause(Number(values.seconds) * 1_000);
  const passedSeconds = (performance.now() - begunMs) / 1_000;
  goals = pids.flatMap(({ nodeId, pid }, at) => {
    const who = `${nodeId} (${nodeId === leader ? 'leader' : 'follower'})`;
    const percent = ((cpuSecondsOf(pid) - before[at]!.cpu) / passedSeconds) * 100;
    const wakeUps = (wakeUpsOf(pid) - before[at]!.wakeUps) / passedSeconds;
    return [
      { what: who, value: Number(percent.toFixed(2)), most: CORE_PERCENT_MAX, unit: '% of a core' },
      { what: `${who}: main thread woken`, value: Math.round(wakeUps), unit: 'times a second' },
    ];
  });
} finally {
  await cluster.stop();
}
mkdirSync(dirname(values.report), { recursive: true });
writeFileSync(values.report, `${JSON.stringify({ seconds: Number(values.seconds), goals }, null, 2)}\n`);
console.log(`idle for ${values.seconds} s, nobody asks anything:`);
console.log(tableOf(goals));
process.exit(areMet(goals) ? 0 : 1);
