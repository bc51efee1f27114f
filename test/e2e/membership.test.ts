// Real processes whose group changes its members while it serves.
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { GapMeter } from '../../src/server/demo/gap_meter.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { History } from '../chaos/history.ts';
import { clean, isFaultless, judge } from '../chaos/judge.ts';
import { Load } from '../chaos/load.ts';
import { pause, until } from '../chaos/pause.ts';
import { readLog, verifyReplicas } from '../chaos/replicas.ts';
import { WorkingTime } from '../chaos/working_time.ts';

const TOPIC = 'orders';
const QUEUES = 3;
/** Longest silence a change may cause: one election timeout, on a machine that does not stall. */
const GAP_MS_MAX = 1_000;
const CHANGED_WITHIN_MS = 60_000;

describe('a group whose members change', function () {
  this.timeout(300_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;
  let history: History;
  let load: Load;
  let gap: GapMeter;
  let time: WorkingTime;
  let test: Mocha.Runnable;

  beforeEach(async function () {
    test = this.currentTest!;
    cluster = await LocalCluster.start({ settings: { segmentSizeBytes: '8MiB' } });
    await cluster.waitForLeader();
    client = new TLedgerClient({ endpoints: cluster.endpoints });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    history = new History(QUEUES);
    gap = new GapMeter();
    time = new WorkingTime();
    const onAcknowledged = (): void => gap.acknowledged(time.elapsedMs);
    load = new Load({ endpoints: cluster.endpoints, topic: TOPIC, history, onAcknowledged });
  });
  afterEach(async () => {
    time?.end();
    await load.stop();
    await client.close();
    await cluster.stop();
  });

  async function add(nodeId: string, replaces?: string): Promise<void> {
    const { clientAddress, peerAddress } = await cluster.startJoining(nodeId);
    const addresses = { client: clientAddress, peer: peerAddress };
    await client.admin.changeMembers({ kind: 'add', nodeId, addresses, replaces }, { timeoutMs: CHANGED_WITHIN_MS });
  }

  /** Starts producers, and waits until they are served. */
  async function startLoad(producers: number): Promise<void> {
    for (let at = 0; at < producers; at++) load.startProducer({ window: 16, sendTimeoutMs: 20_000 });
    await served();
  }

  /** Resolves after some more messages were acknowledged: a silence that is under way counts to its end. */
  async function served(): Promise<void> {
    const before = history.acknowledged;
    expect(await until(() => history.acknowledged > before + 50, 30_000), 'the load goes on').to.equal(true);
  }

  async function roles(): Promise<string[]> {
    const { membership } = await client.admin.clusterStatus();
    return membership!.members.map(({ nodeId, role }) => `${nodeId} ${role}`);
  }

  /** Kills a node, and has the client notice: the outcome of a change that is sent over a breaking connection is unknown. */
  async function kill(nodeId: string): Promise<void> {
    await cluster.kill(nodeId);
    await pause(200);
    await roles();
  }

  /** What a node says of itself when it is asked alone. */
  async function ownRole(nodeId: string): Promise<string> {
    const { clientAddress } = cluster.members.find((member) => member.nodeId === nodeId)!;
    const alone = new TLedgerClient({ endpoints: [clientAddress] });
    try {
      return (await alone.admin.clusterStatus({ localOnly: true })).nodes[0]!.membershipRole;
    } finally {
      await alone.close();
    }
  }

  async function expectClean(): Promise<void> {
    await load.stop();
    const verdict = judge(history, await readLog(client, TOPIC, QUEUES));
    // What is lost is lost, however well it goes the next time.
    if (!isFaultless(verdict)) test.retries(0);
    expect(verdict.faults, verdict.examples.join('\n')).to.deep.equal(clean);
    expect(verdict.read).to.be.at.least(verdict.acknowledged);
    const { identical, why } = await verifyReplicas(client, 30_000);
    expect(identical, why).to.equal(true);
  }

  it('replaces every member one after another under load, and nobody notices', async () => {
    await startLoad(2);
    const gaps: string[] = [];
    for (let at = 0; at < 3; at++) {
      const [old, fresh] = [`n${at}`, `n${at + 3}`];
      const wasLeader = (await cluster.waitForLeader()).nodeId === old;
      gap.open();
      await add(fresh, old);
      await until(async () => (await ownRole(old)) === 'removed', 30_000);
      await pause(300);
      await served();
      const longestMs = gap.close();
      gaps.push(`${old} by ${fresh}${wasLeader ? ', the leader,' : ''} ${Math.round(longestMs)} ms`);
      expect(longestMs, gaps.at(-1)).to.be.below(GAP_MS_MAX);
      expect(await ownRole(old), 'it knows that it is out').to.equal('removed');
      await cluster.forget(old);
    }
    console.log(`    longest silence: ${gaps.join('; ')}`);
    expect(await roles()).to.deep.equal(['n3 voter', 'n4 voter', 'n5 voter']);
    // By clients that were told of n0, n1 and n2 only.
    await served();
    const { nodeId } = await cluster.waitForLeader();
    await cluster.kill(nodeId);
    await pause(2_000);
    await cluster.restart(nodeId);
    await expectClean();
    expect([...load.codes.keys()], 'no sender was told of a failure').to.deep.equal([]);
  });

  it('takes its leader out, and a dead member, and a learner in and out', async () => {
    await startLoad(1);
    const { nodeId: leader } = await cluster.waitForLeader();
    gap.open();
    await client.admin.changeMembers({ kind: 'remove', nodeId: leader }, { timeoutMs: CHANGED_WITHIN_MS });
    await pause(500);
    await served();
    const longestMs = gap.close();
    console.log(`    longest silence while the leader left: ${Math.round(longestMs)} ms`);
    expect(longestMs).to.be.below(GAP_MS_MAX);
    expect((await cluster.waitForLeader()).nodeId).not.to.equal(leader);
    expect(await roles()).to.have.length(2);
    await cluster.forget(leader);

    await add('n3');
    const { nodeId: second } = await cluster.waitForLeader();
    const dead = ['n0', 'n1', 'n2'].find((id) => id !== leader && id !== second)!;
    await kill(dead);
    const risky = await client.admin
      .changeMembers({ kind: 'remove', nodeId: 'n3' }, { timeoutMs: CHANGED_WITHIN_MS })
      .catch((error: { code: string }) => error.code);
    expect(risky, 'the dead one and the leader would be left').to.equal('NO_HEALTHY_MAJORITY');
    await client.admin.changeMembers({ kind: 'remove', nodeId: dead }, { timeoutMs: CHANGED_WITHIN_MS });
    expect(await roles()).to.deep.equal([second, 'n3'].sort().map((id) => `${id} voter`));

    const { clientAddress, peerAddress } = await cluster.startJoining('n4');
    const addresses = { client: clientAddress, peer: peerAddress };
    const learner = { kind: 'add', nodeId: 'n4', addresses, learnerOnly: true } as const;
    await client.admin.changeMembers(learner, { timeoutMs: CHANGED_WITHIN_MS });
    expect(await roles()).to.include('n4 learner');
    await until(async () => (await ownRole('n4')) === 'learner', 30_000);
    await client.admin.changeMembers({ kind: 'promote', nodeId: 'n4' }, { timeoutMs: CHANGED_WITHIN_MS });
    expect(await roles()).to.include('n4 voter');
    await expectClean();
  });

  it('does not let a member that was removed while it was dead disturb the others', async () => {
    await startLoad(1);
    const { nodeId: leader, term } = await cluster.waitForLeader();
    const dead = ['n0', 'n1', 'n2'].find((id) => id !== leader)!;
    await kill(dead);
    await client.admin.changeMembers({ kind: 'remove', nodeId: dead }, { timeoutMs: CHANGED_WITHIN_MS });
    await cluster.restart(dead);
    gap.open();
    await pause(3_000);
    await served();
    expect(gap.close(), 'longest silence').to.be.below(GAP_MS_MAX);
    expect(await cluster.waitForLeader()).to.deep.equal({ nodeId: leader, term });
    expect(await ownRole(dead), 'it was told').to.equal('removed');
    // Its name is free for a new node, whatever the old one held.
    await cluster.forget(dead);
    await add(dead);
    expect(await roles()).to.include(`${dead} voter`);
    await expectClean();
  });
});
