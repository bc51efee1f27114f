// npx tsx test/bench/group_commit.ts: how many records share a flush on this disk, by how many appends are under way.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import { openGroup } from '../../src/replica/open_group.ts';
import { Replica } from '../../src/replica/replica.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { pause } from '../chaos/pause.ts';
import { batchOf } from '../replica/group.ts';

const SECONDS = 3;
const MIB = 1024 * 1024;
const BODY = 'x'.repeat(1024);

/** A disk that counts the flushes of segments. */
class CountingDisk extends RealDisk {
  flushes = 0;

  override open(path: string, options?: { readonly create?: boolean }) {
    const file = super.open(path, options);
    if (!path.includes('commitlog')) return file;
    const flush = file.flush.bind(file);
    file.flush = () => {
      this.flushes++;
      return flush();
    };
    return file;
  }
}

async function measure(inFlight: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tledger-group-commit-'));
  const disk = new CountingDisk();
  const onWarning = (message: string): void => console.error(message);
  const open = await openGroup({
    ...{ disk, directory, onWarning, segmentSizeBytes: 1024 * MIB },
    store: new MemoryStateStore(new MemoryStateMedium()),
  });
  const replica = new Replica({
    ...open,
    raft: {
      ...{ id: 'n0', preferredLeaders: [], leaseReads: false, heartbeatIntervalMs: 100, idleHeartbeatIntervalMs: 100 },
      ...{ electionTimeoutMsMin: 150, electionTimeoutMsMax: 300 },
      ...{ appendBytesMax: MIB, inflightCountMax: 256, inflightBytesMax: 16 * MIB },
    },
    membership: bootstrap({ n0: { peer: 'n0:1', client: 'n0:2' } }),
    limits: {
      ...{ countMax: 100_000, bytesMax: 128 * MIB, batchBytesMax: MIB },
      ...{ unflushedBytesMax: MIB, unappliedBytesMax: 32 * MIB },
    },
    ...{ flush: 'sync', checkpointIntervalMs: 1_000, retentionBytes: 0, diskStallMs: 3_000 },
    ...{ clock: systemClock, random: new SeededRandom(1), onWarning, onFailure: onWarning as never },
    transport: { send: () => {}, setMembers: () => {} },
  });
  replica.start();
  while (!replica.isLeader) await pause(20);
  await replica.createTopic('T', 1, performance.now() + 10_000);
  let count = 0;
  let isOver = false;
  const one = (): void => {
    if (isOver) return;
    replica.append(batchOf('T', [BODY]), performance.now() + 10_000, (error) => {
      if (error !== null && !isOver) console.error(error.message);
      count++;
      one();
    });
  };
  const before = disk.flushes;
  for (let at = 0; at < inFlight; at++) one();
  await pause(SECONDS * 1_000);
  isOver = true;
  const flushes = disk.flushes - before;
  const perFlush = (count / Math.max(1, flushes)).toFixed(1);
  console.log(
    `${inFlight} in flight: ${Math.round(count / SECONDS)} records/s, ${Math.round(flushes / SECONDS)} flushes/s, ${perFlush} records a flush`,
  );
  await replica.stop(0);
  await open.close();
  rmSync(directory, { recursive: true });
}

for (const inFlight of [1, 16, 128, 1024]) await measure(inFlight);
