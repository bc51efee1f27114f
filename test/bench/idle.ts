// What an idle group costs: `npm run bench:idle -- [--nodes 3] [--seconds 10] [--format text|json]`. Real processes that
// nobody asks anything; user and system time of each (/proc/<pid>/stat) as a share of one core.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { pause } from '../chaos/pause.ts';

/** USER_HZ: 100 on every Linux of the platforms that Node runs on. */
const TICKS_PER_SECOND = 100;
/** Fields 14 and 15 of proc(5) stat, counted behind the command's closing bracket. */
const UTIME_AT = 11;
const STIME_AT = 12;
/** Start-up work and the first compilations are over by then. */
const SETTLE_MS = 5_000;

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '10' },
    format: { type: 'string', default: 'text' },
  },
});

function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[UTIME_AT]) + Number(fields[STIME_AT])) / TICKS_PER_SECOND;
}

const cluster = await LocalCluster.start({ nodes: Number(values.nodes) });
try {
  const { nodeId: leader } = await cluster.waitForLeader();
  const client = new TLedgerClient({ endpoints: cluster.endpoints });
  await client.admin.createTopic('idle', { queues: 4 });
  await client.close();
  await pause(SETTLE_MS);
  const pids = cluster.members.map(({ nodeId }) => ({ nodeId, pid: cluster.pidOf(nodeId) }));
  const before = pids.map(({ pid }) => cpuSecondsOf(pid));
  const begunMs = performance.now();
  await pause(Number(values.seconds) * 1_000);
  const passedSeconds = (performance.now() - begunMs) / 1_000;
  const nodes = pids.map(({ nodeId, pid }, at) => {
    const percent = ((cpuSecondsOf(pid) - before[at]!) / passedSeconds) * 100;
    return { nodeId, role: nodeId === leader ? 'leader' : 'follower', corePercent: Number(percent.toFixed(2)) };
  });
  if (values.format === 'json') console.log(JSON.stringify({ seconds: Math.round(passedSeconds), nodes }));
  else
    for (const { nodeId, role, corePercent } of nodes) console.log(`${nodeId} (${role}): ${corePercent} % of a core`);
} finally {
  await cluster.stop();
}
process.exit(0);
