// `npm run test:compat:delay -- [--per-second 1000] [--seconds 20] [--pending 100000]`: how punctual delayed messages are, also
// while a leader is killed; and that those that wait outlive a restart of all nodes, and what they cost meanwhile. Exit code
// 0 only if no message was early or lost, and 99 % of those that were due while somebody led came within 100 ms.
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { parkedLimits } from '../../src/replica/parked/parked_messages.ts';
import { cpuMsOf, memoryBytesOf } from '../bench/processes.ts';
import { pause } from '../chaos/pause.ts';
import { Stage } from './clients.ts';
import { type Arrival, disorderMs, gapAt, lateness, PUNCTUAL_MS, Round } from './punctuality.ts';

const { values } = parseArgs({
  options: {
    'per-second': { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '20' },
    pending: { type: 'string', default: '100000' },
  },
});
const perSecond = Number(values['per-second']);
const seconds = Number(values.seconds);
const PUNCTUAL_SHARE = 0.99;
/** So long before the first is due all are to be sent. */
const LEAD_MS = 5_000;
/** What sending one takes, at first. */
const SEND_MS = 1.5;

const stage = await Stage.start();
const isGood = [await measure('in peace', false), await measure('across a killed leader', true)];
const pending = Number(values.pending);
if (pending > 0) isGood.push(await wait(pending));
await stage.stop();
process.exit(isGood.every(Boolean) ? 0 : 1);

/** Messages that are due one after the other. @returns whether they came as they should. */
async function measure(what: string, isKilled: boolean): Promise<boolean> {
  const count = perSecond * seconds;
  const { round, beginMs } = await sendAhead(count, perSecond);
  const receiving = round.receive();
  await pause(beginMs - Date.now());
  const spentBeforeMs = cpuMs();
  const killedMs = isKilled ? await pause((seconds * 1_000) / 2).then(killLeader) : null;
  await pause(beginMs + seconds * 1_000 - Date.now());
  const processors = isKilled
    ? ''
    : `; ${((cpuMs() - spentBeforeMs) / seconds / 1_000).toFixed(2)} processors for the nodes`;
  await round.finish(120_000);
  await receiving;
  const arrivals = [...round.arrivals.values()];
  console.log(`${what}: ${round.sent} sent, ${round.sent - arrivals.length} missing, ${round.doubles} came again`);
  console.log(`  load ${loadavg()[0]!.toFixed(1)}${processors}`);
  const gap = killedMs === null ? null : gapAt(killedMs, arrivals);
  const isInGap = ({ dueMs }: Arrival): boolean => gap !== null && dueMs > gap.fromMs && dueMs <= gap.toMs;
  const outside = arrivals.filter((arrival) => !isInGap(arrival));
  show('in their queues', outside, 'storedMs');
  show('handed out', outside, 'handedOutMs');
  const { punctualShare, early } = show('received', outside, 'receivedMs');
  if (gap !== null) {
    const inGap = arrivals.filter(isInGap);
    const lastMs = inGap.reduce((last, { storedMs }) => Math.max(last, storedMs), gap.toMs);
    console.log(
      `  ${inGap.length} were due in the ${gap.toMs - gap.fromMs} ms in which nobody led: all in their queues ${lastMs - gap.toMs} ms later,`,
      `at most ${disorderMs(inGap)} ms out of order; at most ${parkedLimits.releasingBytesMax / 1_048_576} MiB under way`,
    );
  }
  return round.sent === arrivals.length && early === 0 && punctualShare >= PUNCTUAL_SHARE;
}

/** Sends messages so long before they are due that all are there by then, however slow this machine is. */
async function sendAhead(count: number, rate: number): Promise<{ round: Round; beginMs: number }> {
  for (let leadMs = LEAD_MS + SEND_MS * count; ; leadMs *= 2) {
    const round = new Round(stage.endpoint(), await stage.topic('delay'));
    const beginMs = Date.now() + leadMs;
    await round.send((at) => beginMs + Math.floor((at * 1_000) / rate), count);
    if (Date.now() < beginMs) return { round, beginMs };
    console.log(`  sending took more than ${leadMs} ms; once more`);
    await round.finish(0);
  }
}

function show(what: string, arrivals: readonly Arrival[], time: 'storedMs' | 'handedOutMs' | 'receivedMs') {
  const late = lateness(arrivals, time);
  const { early, halfMs, p99Ms, maxMs, punctualShare } = late;
  console.log(
    `  ${what}: ${early} early; half ${halfMs} ms late, 99 % ${p99Ms}, all ${maxMs};`,
    `${(100 * punctualShare).toFixed(2)} % within ${PUNCTUAL_MS} ms`,
  );
  return late;
}

/** Messages that wait over a restart of all nodes. @returns whether all came, none early. */
async function wait(count: number): Promise<boolean> {
  const before = memory();
  const { round } = await sendAhead(count, 5_000);
  console.log(`${count} are waiting: the nodes have ${before} MiB before, ${memory()} MiB with them`);
  for (const { nodeId } of stage.cluster.members) await stage.cluster.kill(nodeId);
  await Promise.all(stage.cluster.members.map(({ nodeId }) => stage.cluster.restart(nodeId)));
  console.log(`  all nodes were killed and started again: ${memory()} MiB`);
  const receiving = round.receive();
  await round.finish(3 * SEND_MS * count + 240_000);
  await receiving;
  const arrivals = [...round.arrivals.values()];
  console.log(
    `over a restart: ${round.sent} sent, ${round.sent - arrivals.length} missing, ${round.doubles} came again`,
  );
  show('in their queues', arrivals, 'storedMs');
  const { early } = show('received', arrivals, 'receivedMs');
  return round.sent === arrivals.length && early === 0;
}

/** Kills the leader, and starts it again later. @returns when it was killed. */
async function killLeader(): Promise<number> {
  const { nodeId } = await stage.cluster.waitForLeader();
  if (nodeId === stage.cluster.members[0]!.nodeId) {
    // The clients' own node stays.
    await stage.admin.admin.transferLeadership(stage.cluster.members[1]!.nodeId).catch(() => {});
    await pause(500);
    return killLeader();
  }
  const killedMs = Date.now();
  await stage.cluster.kill(nodeId);
  await pause(2_000);
  await stage.cluster.restart(nodeId);
  return killedMs;
}

function running(): number[] {
  return stage.cluster.members.flatMap(({ nodeId }) =>
    stage.cluster.isRunning(nodeId) ? [stage.cluster.pidOf(nodeId)] : [],
  );
}

/** Processor time of all nodes so far. */
function cpuMs(): number {
  return running().reduce((sum, pid) => sum + cpuMsOf(pid), 0);
}

/** Resident, of each node. */
function memory(): string {
  return running()
    .map((pid) => Math.round(memoryBytesOf(pid, 'VmRSS') / 1_024 ** 2))
    .join(', ');
}
