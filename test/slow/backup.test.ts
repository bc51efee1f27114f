// Real processes: a group is backed up while it serves, killed, and made anew from the backup.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Cluster } from '../../src/client/cluster.ts';
import { type BackupProgress, TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster, type LocalClusterOptions, type LocalMember } from '../../src/server/local_cluster.ts';
import type { OutgoingAppend } from '../../src/wire/append_codec.ts';
import type { AppendResponse } from '../../src/wire/ledger_messages.ts';
import { ledgerService } from '../../src/wire/services.ts';
import { History } from '../chaos/history.ts';
import { Load } from '../chaos/load.ts';
import { until } from '../chaos/pause.ts';
import { verifyReplicas } from '../chaos/replicas.ts';
import { run } from '../cli/harness.ts';

const TOPIC = 'orders';
const QUEUES = 3;
const SETTINGS = { segmentSizeBytes: '8MiB' } as const;

/** By queue, then by offset, what readers are shown; nothing where the beginning was cut. */
type Shown = readonly (readonly string[])[];

async function readAll(client: TLedgerClient): Promise<Shown> {
  const log: string[][] = Array.from({ length: QUEUES }, () => []);
  for await (const { queue, messages } of client.consumeBatches({ topic: TOPIC, untilEnd: true })) {
    for (const message of messages) log[queue]![message.queueOffset] = message.body.toString('latin1');
  }
  return log;
}

/** The commands that README.md shows for backups, with other values in the place of its own; comments are left out. */
function readmeCommands(verb: string, places: Readonly<Record<string, string>>): string[][] {
  const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
  const section = readme.slice(readme.indexOf('## Backup and restore'), readme.indexOf('## From a program'));
  const lines = section.replaceAll(/\\\n */g, '').split('\n');
  const commands = lines.filter((line) => line.startsWith(`tledger backup ${verb} `));
  expect(commands, verb).not.to.deep.equal([]);
  return commands.map((line) => {
    const words = line.replace(/ +#.*/, '').trim().split(/ +/).slice(2);
    return words.map((word) => places[word] ?? word);
  });
}

async function append(cluster: LocalCluster, request: OutgoingAppend): Promise<AppendResponse> {
  const direct = new Cluster({ endpoints: cluster.endpoints });
  try {
    return await direct.call(ledgerService.append, request);
  } finally {
    direct.close();
  }
}

/** Sends messages of 16 kB to the first queue. */
async function sendBulk(client: TLedgerClient, topic: string, count: number): Promise<void> {
  const producer = client.producer();
  const body = Buffer.alloc(16_000, 'x');
  for (let sent = 0; sent < count; sent += 50) {
    await Promise.all(Array.from({ length: 50 }, () => producer.send({ topic, queue: 0, body })));
  }
}

describe('a group that is backed up and restored', function () {
  this.timeout(300_000);
  let root: string;
  const open: { stop(): Promise<void> }[] = [];
  const clients: TLedgerClient[] = [];

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'tledger-backup-'));
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.close();
    for (const one of open.splice(0).reverse()) await one.stop();
    rmSync(root, { recursive: true, force: true });
  });

  async function start(options: LocalClusterOptions): Promise<{ cluster: LocalCluster; client: TLedgerClient }> {
    const cluster = await LocalCluster.start(options);
    open.push(cluster);
    await cluster.waitForLeader();
    const client = new TLedgerClient({ endpoints: cluster.endpoints });
    clients.push(client);
    return { cluster, client };
  }

  /** `tledger backup …`, as a document. */
  async function cli(cluster: LocalCluster | null, ...argv: string[]) {
    const to = cluster === null ? [] : ['--endpoints', cluster.endpoints.join(',')];
    const { exitCode, stdout, stderr } = await run(['backup', ...argv, ...to, '--format', 'json']);
    expect(exitCode, stderr).to.equal(0);
    return JSON.parse(stdout.toString());
  }

  /** Starts a group whose nodes' directories are made of a backup. */
  async function restored(backup: string, dataDir: string, nodes = 3) {
    const restore = async (members: readonly LocalMember[]) => {
      const peers = members.map(({ nodeId, peerAddress }) => `${nodeId}=${peerAddress}`).join(',');
      const addresses = members.map(({ nodeId, clientAddress }) => `${nodeId}=${clientAddress}`).join(',');
      for (const { nodeId, dataDir: directory } of members) {
        const places = { '/backup/g0': backup, '/var/lib/tledger': directory, n0: nodeId };
        const lists = (word: string): string =>
          word.includes(':40911') ? peers : word.includes(':8081') ? addresses : word;
        for (const words of readmeCommands('restore', places)) await cli(null, ...words.map(lists));
      }
      const find = (id: string): LocalMember => members.find(({ nodeId }) => nodeId === id)!;
      return { peer: (_: string, to: string) => find(to).peerAddress, client: (to: string) => find(to).clientAddress };
    };
    return start({ dataDir, nodes, settings: SETTINGS, routes: restore });
  }

  it('has all that was acknowledged before the backup, in order, and nothing else', async () => {
    const backup = join(root, 'backup');
    const { cluster, client } = await start({ settings: SETTINGS });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    await client.admin.createTopic('bulk', { queues: 1 });
    await sendBulk(client, 'bulk', 600);
    const once = {
      topic: 'bulk',
      queue: 0,
      producerId: '0123456789abcdef',
      sequence: 1,
      messages: [{ body: Buffer.from('once') }],
    };
    const { queueOffset } = await append(cluster, once);
    const history = new History(QUEUES);
    const load = new Load({ endpoints: cluster.endpoints, topic: TOPIC, history });
    open.push(load);
    for (let at = 0; at < 3; at++) load.startProducer({ window: 8, sendTimeoutMs: 20_000 });
    expect(await until(() => history.acknowledged > 500, 60_000), 'the load goes on').to.equal(true);

    const places = { '/backup/g0': backup, '/backup': root };
    const [begin, goOn] = readmeCommands('create', places);
    const first = await cli(cluster, ...begin!);
    expect(first).to.include({ firstIndex: 1, continuedFrom: null, directory: backup, nodeId: 'n2' });
    const between = history.acknowledged;
    expect(await until(() => history.acknowledged > between + 500, 60_000)).to.equal(true);
    const acknowledged = history.acknowledged;
    const second = await cli(cluster, ...goOn!);
    expect(second).to.include({ continuedFrom: first.lastIndex, firstIndex: 1 });
    expect(second.lastIndex).to.be.at.least(acknowledged + 600);
    expect(second.bytesKept).to.be.at.least(8 * 1024 * 1024);
    expect(second.bytesCopied).to.be.at.most(8 * 1024 * 1024);
    const linked = readdirSync(join(backup, 'commitlog')).filter(
      (name) => statSync(join(backup, 'commitlog', name)).nlink > 1,
    );
    expect(linked.length).to.be.at.least(1);
    const verified = await cli(null, ...readmeCommands('verify', places)[0]!);
    expect(verified).to.include({ good: true, lastIndex: second.lastIndex });
    const listed = await cli(null, ...readmeCommands('list', places)[0]!);
    expect(listed.map(({ checksum }: { checksum: string }) => checksum)).to.deep.equal([second.checksum]);

    await load.stop();
    const before = await readAll(client);
    await Promise.all(cluster.members.map(({ nodeId }) => cluster.kill(nodeId)));

    const anew = await restored(backup, join(root, 'new'));
    const shown = await readAll(anew.client);
    let count = 0;
    shown.forEach((queue, at) => {
      expect(queue).to.deep.equal(before[at]!.slice(0, queue.length));
      count += queue.length;
    });
    expect(count).to.be.at.least(acknowledged);
    expect(count).to.be.lessThan(before.reduce((sum, queue) => sum + queue.length, 0));
    const { identical } = await verifyReplicas(anew.client, 60_000);
    expect(identical).to.equal(true);
    const membership = (await anew.client.admin.clusterStatus()).membership!;
    expect(Number(membership.index)).to.equal(second.lastIndex + 1);
    // Who asks again whether a message was taken gets the old answer, and new ones go on where the backup ended.
    expect(await append(anew.cluster, once)).to.include({ queueOffset, repeated: true });
    const receipt = await anew.client.producer().send({ topic: TOPIC, queue: 0, body: Buffer.from('new') });
    expect(receipt.queueOffset).to.equal(shown[0]!.length);
  });

  it('goes further back than the log, unless it is told to let go', async () => {
    const [kept, pruned] = [join(root, 'kept'), join(root, 'pruned')];
    const settings = { ...SETTINGS, retentionBytes: '8MiB' };
    const { cluster, client } = await start({ nodes: 1, settings });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    const producer = client.producer();
    const sent: string[][] = Array.from({ length: QUEUES }, () => []);
    const send = async (megabytes: number): Promise<void> => {
      for (let part = 0; part < megabytes; part++) {
        const bodies = Array.from({ length: 60 }, (_, at) => Buffer.alloc(16_000, `${part}/${at} `));
        await Promise.all(bodies.map((body, at) => producer.send({ topic: TOPIC, queue: at % QUEUES, body })));
        for (const [at, body] of bodies.entries()) sent[at % QUEUES]!.push(body.toString('latin1'));
      }
    };
    const make = (directory: string, ...more: string[]) => cli(cluster, 'create', directory, ...more);
    await send(9);
    await make(kept);
    await make(pruned);
    await send(9);
    const isCut = async (): Promise<boolean> => {
      const { nodes } = await client.admin.clusterStatus();
      return Number(nodes[0]!.firstIndex) > 100;
    };
    expect(await until(isCut, 60_000), 'the log is cut').to.equal(true);
    expect((await make(kept)).firstIndex).to.equal(1);
    expect((await make(pruned, '--prune')).firstIndex).to.be.greaterThan(100);
    await Promise.all(cluster.members.map(({ nodeId }) => cluster.kill(nodeId)));

    const all = await restored(kept, join(root, 'all'), 1);
    expect(await readAll(all.client)).to.deep.equal(sent);
    const some = await restored(pruned, join(root, 'some'), 1);
    const shown = await readAll(some.client);
    shown.forEach((queue, at) => {
      expect(queue.length).to.equal(sent[at]!.length);
      expect(Object.keys(queue).length).to.be.within(1, queue.length - 1);
      for (const offset of Object.keys(queue).map(Number)) expect(queue[offset]).to.equal(sent[at]![offset]);
    });
  });

  it('leaves the earlier backup alone when the node that makes the next one is killed', async () => {
    const backup = join(root, 'backup');
    const { cluster, client } = await start({ settings: SETTINGS });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    const send = () => sendBulk(client, TOPIC, 150);
    await send();
    const first = await cli(cluster, 'create', backup);
    expect(first.nodeId, 'a follower makes it').not.to.equal(cluster.leader!.nodeId);
    await send();
    const told: BackupProgress[] = [];
    let failure: unknown;
    try {
      // So slow that it is under way for long.
      const wish = { directory: backup, nodeId: first.nodeId, bytesPerSecond: 256 * 1024 };
      for await (const progress of client.admin.backup(wish)) {
        told.push(progress);
        if (told.length === 2) await cluster.kill(first.nodeId);
      }
    } catch (error) {
      failure = error;
    }
    expect(failure).to.have.property('code', 'UNREACHABLE');
    expect(await cli(null, 'verify', backup)).to.include({ good: true, lastIndex: first.lastIndex });
    const next = await cli(cluster, 'create', backup);
    expect(next.nodeId).not.to.equal(first.nodeId);
    expect(next.continuedFrom).to.equal(first.lastIndex);
    expect(await cli(null, 'verify', backup)).to.include({ good: true, lastIndex: next.lastIndex });
  });
});
