// Real processes, one of which loses its disk: it must not be counted as the member it was, or what it helped to
// acknowledge could be lost.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { programArguments } from '../../src/server/child_node.ts';
import { LocalCluster, type LocalMember } from '../../src/server/local_cluster.ts';
import { pause, until } from '../chaos/pause.ts';
import { verifyReplicas } from '../chaos/replicas.ts';

const TOPIC = 'orders';

describe('a member whose disk is lost', function () {
  this.timeout(240_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;
  let exits: (number | null)[];
  let joining: ChildProcess | undefined;
  let leader: string;
  /** The follower that acknowledged the message, and then loses its disk. */
  let wiped: LocalMember;
  /** The follower that was away meanwhile. */
  let away: string;

  /** The two that hold an acknowledged message are dead, one of them lost its disk; the third never heard of it. */
  beforeEach(async () => {
    exits = [];
    cluster = await LocalCluster.start({
      settings: { segmentSizeBytes: '8MiB' },
      onEvent: (event) => event.kind === 'exited' && exits.push(event.code),
    });
    client = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 60_000 });
    leader = (await cluster.waitForLeader()).nodeId;
    await client.admin.createTopic(TOPIC, { queues: 1 });
    await send('one');
    const [first, second] = cluster.members.filter(({ nodeId }) => nodeId !== leader);
    wiped = first!;
    away = second!.nodeId;
    const identity = () => readFileSync(join(second!.dataDir, 'g0', 'identity'), 'utf8');
    const knows = () => JSON.parse(identity().slice(9)).promised.length === 2;
    expect(await until(knows, 30_000), 'a follower that never calls is known, too').to.equal(true);
    await cluster.kill(away, 'SIGSTOP');
    await send('two');
    await cluster.kill(leader);
    await cluster.kill(wiped.nodeId);
    rmSync(join(wiped.dataDir, 'g0'), { recursive: true });
    await cluster.kill(away, 'SIGCONT');
  });
  afterEach(async () => {
    joining?.kill('SIGKILL');
    joining = undefined;
    await client.close();
    await cluster.stop();
  });

  async function send(body: string): Promise<void> {
    const producer = client.producer();
    await producer.send({ topic: TOPIC, queue: 0, body: Buffer.from(body) });
    await producer.close();
  }

  async function expectAll(...bodies: string[]): Promise<void> {
    const found: string[] = [];
    for await (const { body } of client.consume({ topic: TOPIC, untilEnd: true })) found.push(body.toString());
    expect(found).to.deep.equal(bodies);
  }

  async function expectIdentical(): Promise<void> {
    const { identical, why } = await verifyReplicas(client, 30_000);
    expect(identical, why).to.equal(true);
  }

  async function expectNoLeader(): Promise<void> {
    await pause(2_500);
    const status = await client.admin.clusterStatus();
    expect(status.leaderId, 'nobody is elected').to.equal('');
  }

  async function startInVain(): Promise<void> {
    await cluster.restart(wiped.nodeId).catch(() => {});
    expect(await until(() => !cluster.isRunning(wiped.nodeId), 60_000), 'it ends').to.equal(true);
  }

  const remove = () => client.admin.changeMembers({ kind: 'remove', nodeId: wiped.nodeId }, { timeoutMs: 60_000 });
  const addAs = ({ nodeId, clientAddress, peerAddress }: LocalMember) => {
    const addresses = { client: clientAddress, peer: peerAddress };
    return client.admin.changeMembers({ kind: 'add', nodeId, addresses }, { timeoutMs: 60_000 });
  };

  it('refuses to run as the founder it was, says what to do, and comes back as a new one', async () => {
    const { nodeId, dataDir } = wiped;
    await startInVain();
    // One that is refused while it still starts is no child yet, and nobody hears of its end.
    expect(exits.at(-1)).to.be.oneOf([1, null]);
    const log = readFileSync(join(dataDir, 'node.log'), 'utf8');
    expect(log).to.match(
      new RegExp(`${nodeId} has lost its data: .*tledger member remove ${nodeId}.*member add ${nodeId}`),
    );
    await expectNoLeader();
    await startInVain();

    await cluster.restart(leader);
    await expectAll('one', 'two');
    await remove();
    await cluster.forget(nodeId);
    await addAs(await cluster.startJoining(nodeId));
    await send('three');
    await expectAll('one', 'two', 'three');
    await expectIdentical();
    const { membership } = await client.admin.clusterStatus();
    expect(membership!.members.map((one) => `${one.nodeId} ${one.role}`)).to.include(`${nodeId} voter`);
    // Its new self is known now: it may be needed for a majority, and must come back with what it has.
    await cluster.kill(leader);
    await send('four');
    await cluster.kill(nodeId);
    await cluster.restart(nodeId);
    await cluster.restart(leader);
    await expectAll('one', 'two', 'three', 'four');
    await expectIdentical();
  });

  it('is not taken in as the voter it was when it is started to join, but once it was removed', async () => {
    const { nodeId, dataDir, clientAddress, peerAddress } = wiped;
    const where = ['--data-dir', dataDir, '--client-listen', clientAddress, '--peer-listen', peerAddress];
    const argv = ['node', 'start', '--join', '--node-id', nodeId, '--segment-size-bytes', '8MiB', ...where];
    joining = spawn(process.execPath, [...programArguments(), ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    joining.stderr!.on('data', (chunk) => {
      log += chunk;
    });
    expect(await until(() => log.includes('has lost its data'), 60_000), log).to.equal(true);
    await expectNoLeader();
    const group = JSON.parse(readFileSync(join(dataDir, 'g0', 'identity'), 'utf8').slice(9));
    expect([group.groupId, group.promised]).to.deep.equal([null, []]);

    await cluster.restart(leader);
    await expectAll('one', 'two');
    await remove();
    await addAs(wiped);
    await send('three');
    await expectAll('one', 'two', 'three');
    await expectIdentical();
  });
});
