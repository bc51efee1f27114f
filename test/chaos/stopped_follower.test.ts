// A follower that stands still under load (hashicorp/raft #612; VERIFICATION 1.1, row 26): what waits for it in the leader
// is bounded by its window, nobody else is the worse for it, and it catches up when it goes on. On real processes.
import { expect } from 'chai';
import { type Producer, TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { memoryBytesOf } from '../bench/processes.ts';
import { pause } from './pause.ts';
import { verifyReplicas } from './replicas.ts';

const MIB = 1024 * 1024;
const BODY_BYTES = 4_096;
/** 16 MiB a second: without a bound the leader would hold 300 MiB more in the end. */
const RATE = 4_096;
const WARM_UP_MS = 5_000;
const STOPPED_MS = 20_000;
const CONVERGED_WITHIN_MS = 30_000;
const SAMPLE_MS = 100;
/** The default of `inflightBytesMax`. */
const WINDOW_BYTES = 16 * MIB;
/** The window, and what a garbage collector leaves lying about: on a busy machine it comes later. */
const GROWTH_BYTES_MAX = WINDOW_BYTES + 100 * MIB;
/** Of what is served a second before. */
const GOODPUT_SHARE_MIN = 0.6;

describe('a follower that stands still for 20 s under load', function () {
  this.timeout(180_000);

  let cluster: LocalCluster;
  let client: TLedgerClient;
  let acknowledged = 0;
  let failed = 0;

  beforeEach(async () => {
    cluster = await LocalCluster.start({ nodes: 3, settings: { segmentSizeBytes: '64MiB' } });
    await cluster.waitForLeader();
    client = new TLedgerClient({ endpoints: cluster.endpoints });
    await client.admin.createTopic('t', { queues: 4 });
  });

  afterEach(async () => {
    await client.close();
    await cluster.stop();
  });

  /** Sends at a steady rate until aborted. */
  async function load(producer: Producer, signal: AbortSignal): Promise<void> {
    const body = Buffer.alloc(BODY_BYTES, 1);
    const begunMs = performance.now();
    for (let sent = 0; !signal.aborted; ) {
      const due = ((performance.now() - begunMs) / 1_000) * RATE;
      for (; sent < due && producer.isWritable; sent++) {
        producer.append({ topic: 't', body }, (error) => {
          if (error === null) acknowledged++;
          else failed++;
        });
      }
      await pause(10, signal);
    }
    await producer.close();
  }

  /** The most memory that a process holds while it is watched, in bytes. */
  async function peakOf(pid: number, forMs: number): Promise<number> {
    const untilMs = performance.now() + forMs;
    let peak = 0;
    while (performance.now() < untilMs) {
      peak = Math.max(peak, memoryBytesOf(pid, 'VmRSS'));
      await pause(SAMPLE_MS);
    }
    return peak;
  }

  it('costs the leader its window and no more, nobody a leader, and itself nothing', async () => {
    acknowledged = 0;
    failed = 0;
    const { nodeId, term } = cluster.leader!;
    const follower = cluster.members.find((member) => member.nodeId !== nodeId)!.nodeId;
    const stop = new AbortController();
    const loading = load(client.producer({ sendTimeoutMs: 60_000 }), stop.signal);
    try {
      const before = await peakOf(cluster.pidOf(nodeId), WARM_UP_MS);
      const servedBefore = acknowledged;
      const perSecondBefore = Math.min(RATE, (servedBefore / WARM_UP_MS) * 1_000);
      await cluster.kill(follower, 'SIGSTOP');
      const during = await peakOf(cluster.pidOf(nodeId), STOPPED_MS);
      const perSecond = ((acknowledged - servedBefore) / STOPPED_MS) * 1_000;
      await cluster.kill(follower, 'SIGCONT');
      const figures = `${before / MIB} MiB before, ${during / MIB} MiB while it stood, ${perSecond} messages a second`;
      expect(during - before, figures).to.be.below(GROWTH_BYTES_MAX);
      expect(perSecond, figures).to.be.above(GOODPUT_SHARE_MIN * perSecondBefore);
    } finally {
      await cluster.kill(follower, 'SIGCONT');
      stop.abort();
      await loading;
    }
    expect(failed).to.equal(0);
    const agreement = await verifyReplicas(client, CONVERGED_WITHIN_MS);
    expect(agreement.identical, agreement.why).to.equal(true);
    expect(cluster.leader).to.deep.equal({ nodeId, term });
  });
});
