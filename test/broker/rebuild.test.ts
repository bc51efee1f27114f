// All that a broker stores is derived from the log: whatever of it is damaged or lost is made anew, the same as before.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Level } from 'level';
import { Broker } from '../../src/broker/broker.ts';
import { logIndex } from '../../src/raft/types.ts';
import { LevelStateStore } from '../../src/storage/level_state_store.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';
import { batch, DIRECTORY, FakeLog, Harness, PRODUCER_A, PRODUCER_B } from './fixture.ts';
import { stateOf } from './model.ts';

const FILE = '00000000000000000000';
const path = (queueId: number) => `${DIRECTORY}/T/${queueId}/${FILE}`;

/** Topics, producers and messages over several segments, all of it stored; then the process ends. */
async function stored(): Promise<{ harness: Harness; before: Awaited<ReturnType<typeof stateOf>> }> {
  const harness = await Harness.start({ queues: 3, log: new FakeLog(1 << 11) });
  harness.createTopic('U', 1);
  for (let round = 0; round < 8; round++) {
    const sequence = 1 + 2 * round;
    harness.append(batch(['a', 'b'], { queueId: 0, producerId: PRODUCER_A, sequence }));
    harness.append(batch(['c', 'd'], { queueId: 1, producerId: PRODUCER_B, sequence, tag: 'x' }));
    harness.noop();
    harness.append(batch(['e'], { topic: 'U' }));
  }
  const before = await stateOf(harness);
  await harness.broker.close();
  return { harness, before };
}

/** A unit of queue 0 that leads elsewhere. */
function unitTo(position: number, sizeBytes = 130): Buffer {
  const unit = Buffer.alloc(20);
  unit.writeBigUInt64BE(BigInt(position + 48), 0);
  unit.writeUInt32BE(sizeBytes, 8);
  return unit;
}

describe('a broker whose stored state is whole', () => {
  it('opens where it was, without a warning', async () => {
    const { harness, before } = await stored();
    await harness.open();
    expect(harness.broker.appliedIndex).to.equal(harness.log.lastIndex);
    expect(await stateOf(harness)).to.deep.equal(before);
    expect(harness.warnings).to.deep.equal([]);
  });
});

describe('a broker whose stored state is damaged', () => {
  const last = 15;
  const damages: readonly [string, (harness: Harness) => void][] = [
    ['a row of its tables', ({ medium }) => void medium.durable.set('q/T/0', '[0]')],
    ['all files of its queues', ({ disk }) => disk.files().forEach((file) => void disk.remove(file))],
    ['the file of one queue', ({ disk }) => disk.remove(path(1))],
    ['the end of a file', ({ disk }) => disk.open(path(1)).truncate(last * 20 + 19)],
    ['a last unit of zeros', ({ disk }) => disk.corrupt(path(0), last * 20, Buffer.alloc(20))],
    ['a last unit above 2^53', ({ disk }) => disk.corrupt(path(0), last * 20, Buffer.alloc(20, 0xff))],
    ['a last unit behind the log', ({ disk, log }) => disk.corrupt(path(0), last * 20, unitTo(log.end + 2048))],
    ['a last unit over two segments', ({ disk }) => disk.corrupt(path(0), last * 20, unitTo(2048 - 60))],
    ['a last unit into the midst of a record', ({ disk }) => disk.corrupt(path(0), last * 20, unitTo(100))],
    ['the last unit of another queue', ({ disk }) => disk.corrupt(path(0), 300, disk.bytes(path(1)).subarray(300))],
    ['a last unit that is an older one', ({ disk }) => disk.corrupt(path(0), 300, disk.bytes(path(0)).subarray(0, 20))],
    ['a last unit with another size', ({ disk }) => disk.corrupt(path(0), 300 + 11, Buffer.of(99))],
  ];
  for (const [what, damage] of damages) {
    it(`(${what}) makes it anew from the log: the same tables, the same files`, async () => {
      const { harness, before } = await stored();
      damage(harness);
      await harness.open();
      expect(harness.warnings).to.have.length(1);
      expect(harness.broker.appliedIndex).to.equal(0);
      harness.applyTo();
      expect(await stateOf(harness)).to.deep.equal(before);
      // From here on all is well again.
      await harness.broker.close();
      await harness.open();
      expect(harness.warnings).to.have.length(1);
      expect(harness.broker.appliedIndex).to.equal(harness.log.lastIndex);
    });
  }

  it('is what is asked of the log again when that is damaged where the last unit leads, for every byte', async () => {
    for (let at = 0; at < 32; at++) {
      const { harness } = await stored();
      const start = Number(harness.disk.bytes(path(0)).readBigUInt64BE(last * 20)) - 48;
      harness.log.bytes.writeUInt8(harness.log.bytes.readUInt8(start + at) ^ 0x80, start + at);
      await harness.open();
      // Of index and term only what no number can be is seen here; the rest when the record is applied.
      const isSeen = at < 10 || at === 16 || at === 17 || at >= 24;
      expect(harness.broker.appliedIndex, `byte ${at}`).to.equal(isSeen ? 0 : harness.log.lastIndex);
    }
  });

  it('gets there, too, when the power goes while it is being made anew', async () => {
    for (let upTo = 1; upTo < 40; upTo += 6) {
      const { harness, before } = await stored();
      harness.disk.remove(path(0));
      await harness.open();
      harness.applyTo(upTo);
      await harness.broker.checkpoint();
      harness.applyTo(upTo + 3);
      await harness.crash(upTo);
      expect(harness.warnings).to.have.length(1);
      expect(await stateOf(harness)).to.deep.equal(before);
    }
  });

  it('does not take a log that lost records for damage of its own', async () => {
    const { harness } = await stored();
    const shorter = new FakeLog(harness.log.segmentSizeBytes);
    const later = new Harness({ log: shorter, disk: harness.disk, medium: harness.medium });
    const outcome = await later.open().catch((error: Error) => error.message);
    expect(outcome).to.match(/the state is the result of \d+ records, but the log has only 0: it lost some/);
    expect(harness.medium.durable.size).to.be.greaterThan(0);
  });
});

describe('on real files', function () {
  this.timeout(180_000);

  it('a damaged database is put aside, a lost queue is written again, and the lock stays with this process', async () => {
    const { harness, before } = await stored();
    const { log } = harness;
    const directory = mkdtempSync(join(tmpdir(), 'tledger-rebuild-'));
    const state = join(directory, 'state');
    const queues = join(directory, 'consumequeue');
    const warnings: string[] = [];
    let store: LevelStateStore | null = null;
    const open = async (): Promise<Broker> => {
      store = await LevelStateStore.open(state);
      const disk = new RealDisk();
      return Broker.open({
        disk,
        directory: queues,
        store,
        snapshots: SnapshotStore.open({ disk, directory }),
        base: log.base,
        readLog: log.read,
        segmentSizeBytes: log.segmentSizeBytes,
        lastIndex: logIndex(log.lastIndex),
        onWarning: (message) => warnings.push(message),
      });
    };
    const applyAll = async (broker: Broker): Promise<void> => {
      expect(broker.appliedIndex).to.equal(0);
      broker.apply(log.bytes, 0, log.end);
      await broker.checkpoint();
    };
    /** The tables; asked while the store is open. */
    const tables = async (): Promise<unknown> => new Map([...(await store!.load())].sort());
    const expectLocked = async (): Promise<void> => {
      const code = await LevelStateStore.open(state).then(
        () => 'opened',
        (error: { code?: string }) => error.code,
      );
      expect(code).to.equal('DATA_DIR_LOCKED');
    };
    try {
      const first = await open();
      await applyAll(first);
      expect(await tables()).to.deep.equal(before.tables);
      await first.close();

      const database = new Level<string, string>(state);
      await database.put('=q/T/0', 'forged');
      await database.close();
      const second = await open();
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.include(`${state}.damaged-1`);
      expect(readdirSync(`${state}.damaged-1`))
        .to.include('CURRENT')
        .and.not.to.include('LOCK');
      await expectLocked();
      await applyAll(second);
      expect(await tables()).to.deep.equal(before.tables);
      await second.close();

      rmSync(queues, { recursive: true });
      const third = await open();
      expect(warnings).to.have.length(2);
      await expectLocked();
      await applyAll(third);
      expect(await tables()).to.deep.equal(before.tables);
      await third.close();

      const fourth = await open();
      expect(fourth.appliedIndex).to.equal(log.lastIndex);
      expect(warnings).to.have.length(2);
      await fourth.close();
    } finally {
      await (store as LevelStateStore | null)?.close();
      rmSync(directory, { recursive: true });
    }
  });
});
