// Backups on real files: which directories are taken, one at a time, and what restore refuses and promises.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { systemClock } from '../../src/base/clock.ts';
import type { TLedgerError } from '../../src/base/errors.ts';
import { blankRecord, recordMagic } from '../../src/format/record.ts';
import { term } from '../../src/raft/types.ts';
import { type OpenGroup, openGroup } from '../../src/replica/open_group.ts';
import { restoredGroupId } from '../../src/server/backup_tools.ts';
import { Backups } from '../../src/server/backups.ts';
import { forgetOwner, lockDirectory } from '../../src/server/data_directory.ts';
import { readManifest } from '../../src/storage/backup_format.ts';
import { claimDirectory, readIdentity } from '../../src/storage/identity.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { run } from '../cli/harness.ts';

const segmentSizeBytes = 8 * 1024 * 1024;
const PEERS = 'a=10.0.0.1:40911,b=10.0.0.2:40911';
const CLIENTS = 'a=10.0.0.1:8081,b=10.0.0.2:8081';

describe('backups of a group on disk', () => {
  let root: string;
  let dataDir: string;
  let backup: string;
  let group: OpenGroup;
  let backups: Backups;
  const disk = new RealDisk();

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'tledger-backups-'));
    dataDir = join(root, 'data');
    backup = join(root, 'backup');
    const directory = join(dataDir, 'g0');
    const identity = { cluster: 'c', group: 'g0', nodeId: 'n0', segmentSizeBytes };
    const founders = { n0: { peer: 'p:1', client: 'c:1' } };
    const claimed = claimDirectory({ disk, directory, identity, founders });
    const store = await lockDirectory(directory);
    group = await openGroup({ disk, directory, store, segmentSizeBytes, onWarning: () => {} });
    const noop = blankRecord(recordMagic.noop, Buffer.alloc(0));
    group.log.appendBlank(noop, 0, noop.length, term(1));
    await group.log.flush();
    const { buffer, start, end } = group.log.read(group.log.firstIndex, group.log.lastIndex);
    group.broker.apply(buffer, start, end);
    const founding = { voters: ['n0'], outgoing: [], learners: [], addresses: founders };
    backups = new Backups({
      ...{ disk, dataDir, directory, claimed, log: group.log, broker: group.broker, founders: founding },
      ...{ clock: systemClock, onDamage: () => {}, onEvent: () => {} },
    });
  });
  afterEach(async () => {
    await backups.close();
    await group.close();
    forgetOwner(join(dataDir, 'g0'));
    rmSync(root, { recursive: true });
  });

  const make = (directory: string, signal = new AbortController().signal) =>
    backups.run({ directory, bytesPerSecond: 0, prune: false }, () => {}, signal);

  async function refusal(work: Promise<unknown>): Promise<string> {
    return work.then(
      () => 'done',
      (error: TLedgerError) => `${error.code}: ${error.message}`,
    );
  }

  const restore = (node: string, ...more: string[]) =>
    run([
      ...['backup', 'restore', backup, '--data-dir', join(root, node), '--node-id', node],
      ...['--peers', PEERS, '--client-addresses', CLIENTS, ...more],
    ]);
  const groupIdOf = (node: string) => readIdentity(disk, join(root, node, 'g0')).groupId;

  it('lie outside of the data, under an absolute path, whatever leads there', async () => {
    symlinkSync(dataDir, join(root, 'link'));
    for (const [directory, why] of [
      ['backup', 'no absolute path'],
      ['', 'no absolute path'],
      [`${root}/x/../backup`, 'no absolute path'],
      [join(dataDir, 'backup'), "outside of the node's data"],
      [join(root, 'link', 'backup'), "outside of the node's data"],
      [dataDir, "outside of the node's data"],
      [root, "outside of the node's data"],
    ] as const) {
      expect(await refusal(make(directory)), directory)
        .to.match(/^INVALID_ARGUMENT: /)
        .and.include(why);
    }
    mkdirSync(backup);
    writeFileSync(join(backup, 'photo.jpg'), 'x');
    expect(await refusal(make(backup))).to.include('neither empty nor a backup: it holds photo.jpg');
    expect(readdirSync(backup)).to.deep.equal(['photo.jpg']);
  });

  it('are made one at a time, and end when nobody wants them any more', async () => {
    const first = make(backup);
    expect(await refusal(make(join(root, 'other')))).to.match(/^OVERLOADED: /);
    expect(await first).to.include({ firstIndex: 1, lastIndex: 1, continuedFrom: 0 });
    const ended = new AbortController();
    const second = make(backup, ended.signal);
    ended.abort();
    expect(await refusal(second)).to.match(/^SHUTTING_DOWN: /);
    const third = make(backup);
    const closed = backups.close();
    expect(await refusal(third)).to.match(/^SHUTTING_DOWN: /);
    await closed;
    expect(await refusal(make(backup))).to.match(/^SHUTTING_DOWN: /);
  });

  it('are restored to nodes of one new group', async () => {
    await make(backup);
    for (const node of ['a', 'b']) {
      const { exitCode, stdout, stderr } = await restore(node);
      expect(exitCode, stderr).to.equal(0);
      expect(stdout.toString()).to.include(
        `start ${node} with the same peers and client addresses, and --segment-size-bytes 8MiB`,
      );
    }
    const manifest = readManifest(disk, backup)!;
    const members = {
      b: { peer: '10.0.0.2:40911', client: '10.0.0.2:8081' },
      a: { peer: '10.0.0.1:40911', client: '10.0.0.1:8081' },
    };
    const request = { cluster: 'c', group: 'g0', members, generation: '' };
    expect(groupIdOf('a')).to.equal(groupIdOf('b')).and.equal(restoredGroupId(manifest, request));
    const others = [
      restoredGroupId({ ...manifest, createdMs: 1 }, request),
      ...[{ cluster: 'd' }, { group: 'h' }, { generation: '2' }, { members: { a: members.a } }].map((other) =>
        restoredGroupId(manifest, { ...request, ...other }),
      ),
    ];
    expect(new Set([manifest.groupId, groupIdOf('a'), ...others]).size).to.equal(7);
    const [a, b] = ['a', 'b'].map((node) => readFileSync(join(root, node, 'g0/commitlog', '0'.repeat(20))));
    expect(a!.equals(b!)).to.equal(true);
  });

  it('are not restored over anything, nor out of something broken', async () => {
    await make(backup);
    expect((await restore('a')).exitCode).to.equal(0);
    const again = await restore('a');
    expect([again.exitCode, again.stderr]).to.deep.equal([
      1,
      `tledger: ${join(root, 'a', 'g0')} is not empty: it holds checkpoint (INVALID_ARGUMENT)\n`,
    ]);
    const alone = await restore('c');
    expect([alone.exitCode, alone.stderr]).to.deep.equal([
      2,
      'tledger: Configuration: nodeId c is not among peers (a, b) (INVALID_CONFIG)\n',
    ]);
    const tail = readdirSync(join(backup, 'commitlog'))[0]!;
    const bytes = readFileSync(join(backup, 'commitlog', tail));
    bytes[40]! ^= 1;
    writeFileSync(join(backup, 'commitlog', tail), bytes);
    const damaged = await restore('b');
    expect(damaged.exitCode).to.equal(1);
    expect(damaged.stderr).to.include(tail).and.include('(DATA_CORRUPTED)');
    const verified = await run(['backup', 'verify', backup]);
    expect(verified.exitCode).to.equal(1);
    expect(verified.stdout.toString()).to.match(/^commitlog\/.*\nNOT good: 1 of 1 file cannot be restored\n$/);
    bytes[40]! ^= 1;
    writeFileSync(join(backup, 'commitlog', tail), bytes);
    expect((await restore('b')).exitCode, 'begun again').to.equal(0);
    const listed = await run(['backup', 'list', root]);
    expect(listed.stdout.toString()).to.match(/^DIRECTORY .*\n.*\/backup +c\/g0 +1 +1 +48 .* n0\n$/);
    rmSync(join(backup, 'manifest.json'));
    expect((await run(['backup', 'verify', backup])).stderr).to.include('holds no complete backup');
  });
});
