// node force-recover on a directory that lies still: what it does once, and what it says when that is done already.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { openGroup } from '../../src/replica/open_group.ts';
import { forgetOwner, lockDirectory } from '../../src/server/data_directory.ts';
import { claimDirectory, readIdentity } from '../../src/storage/identity.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { run } from '../cli/harness.ts';

const segmentSizeBytes = 8 * 1024 * 1024;
const founders = Object.fromEntries(['n0', 'n1', 'n2'].map((id) => [id, { peer: `${id}:1`, client: `${id}:2` }]));

describe('force recovery of a directory', () => {
  let dataDir: string;
  let directory: string;

  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'tledger-force-'));
    directory = join(dataDir, 'g0');
    const disk = new RealDisk();
    const identity = { cluster: 'c', group: 'g0', nodeId: 'n0', segmentSizeBytes };
    claimDirectory({ disk, directory, identity, founders });
    const store = await lockDirectory(directory);
    await (await openGroup({ disk, directory, store, segmentSizeBytes, onWarning: () => {} })).close();
    forgetOwner(directory);
    await store.close();
  });
  afterEach(() => rmSync(dataDir, { recursive: true }));

  const recover = (...more: string[]) => run(['node', 'force-recover', '--data-dir', dataDir, ...more]);
  const identity = () => readFileSync(join(directory, 'identity'), 'utf8');

  it('makes a group of one once, and says so afterwards without changing anything', async () => {
    const before = identity();
    expect((await recover()).exitCode).to.equal(1);
    expect(identity()).to.equal(before);
    const first = await recover('--accept-data-loss');
    expect(first.exitCode, first.stderr).to.equal(0);
    expect(first.stdout.toString()).to.match(/^n0 is a group of one \(id [0-9a-f]{16}\), by record 1 of term 1, /);
    const done = identity();
    expect(done).not.to.equal(before);
    for (const more of [['--accept-data-loss'], []]) {
      const again = await recover(...more);
      expect([again.exitCode, again.stderr]).to.deep.equal([0, '']);
      expect(again.stdout.toString()).to.match(
        /\nn0 is a group of one already \(id [0-9a-f]{16}\)\. Nothing was changed\.\n$/,
      );
      expect(again.stdout.toString()).not.to.match(/senders|lost for good/);
    }
    const document = JSON.parse((await recover('--accept-data-loss', '--format', 'json')).stdout.toString());
    expect(document).to.include({ recovered: false, isAlone: true, lastIndex: 1, uncertainCount: 0 });
    expect(identity()).to.equal(done);
  });

  it('gives the group another address, of which the own record is nobody else’s', async () => {
    await recover('--accept-data-loss');
    const moved = await recover('--accept-data-loss', '--peer', 'elsewhere:1');
    expect(moved.exitCode).to.equal(0);
    expect(moved.stderr).to.include('No record is held beyond the last one known to be committed');
    expect(moved.stdout.toString()).to.match(/by record 2 of term 2, at elsewhere:1\n/);
  });

  it('is done by the next run when the first was interrupted between the new id and the record', async () => {
    await recover();
    readIdentity(new RealDisk(), directory).secede('0123456789abcdef');
    const { exitCode, stdout } = await recover('--accept-data-loss');
    expect(exitCode).to.equal(0);
    expect(stdout.toString()).to.match(/^n0 is a group of one \(id [0-9a-f]{16}\), by record 1 of term 1, /);
  });
});
