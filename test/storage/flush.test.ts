import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { append, DIRECTORY, openLog, recordsOf } from './log_fixture.ts';

/** A log whose flushes come to their end only when told. */
function heldLog() {
  const disk = new MemoryDisk();
  const log = openLog(disk);
  const held: (() => void)[] = [];
  disk.deferFlush = (finish) => void held.push(finish);
  let flushes = 0;
  disk.onOperation = ({ kind, path }) => {
    if (kind === 'flush' && path.includes('/commitlog/')) flushes++;
  };
  return { disk, log, release: () => held.shift()!(), heldCount: () => held.length, flushCount: () => flushes };
}

describe('flushing the log', () => {
  it('vouches for what was written when the flush began, not for what came after', async () => {
    const { log, release } = heldLog();
    append(log, [10, 10], 3);
    const flushed = log.flush();
    append(log, [10], 4);
    expect(log.flushedIndex).to.equal(0);
    release();
    expect(await flushed).to.deep.equal({ index: 2, term: 3 });
    expect(log.flushedIndex).to.equal(2);
    expect(log.flushedPosition).to.equal(116);
    expect(log.unflushedBytes).to.equal(58);
  });

  it('runs one at a time; all that come meanwhile share the next one', async () => {
    const { log, release, heldCount, flushCount } = heldLog();
    append(log, [10]);
    const first = log.flush();
    append(log, [10]);
    const second = log.flush();
    append(log, [10]);
    const third = log.flush();
    expect(second).to.equal(third);
    expect(heldCount()).to.equal(1);
    release();
    expect((await first).index).to.equal(1);
    await Promise.resolve();
    expect(heldCount()).to.equal(1);
    release();
    expect((await third).index).to.equal(3);
    expect(flushCount()).to.equal(2);
  });

  it('does not touch the disk when there is nothing to flush', async () => {
    const { log, release, flushCount } = heldLog();
    append(log, [10], 2);
    const flushed = log.flush();
    release();
    await flushed;
    expect(await log.flush()).to.deep.equal({ index: 1, term: 2 });
    expect(flushCount()).to.equal(1);
  });

  it('does not vouch for records that were truncated or replaced while it ran', async () => {
    const { disk, log, release } = heldLog();
    append(log, [10, 10, 10, 10], 1);
    const flushed = log.flush();
    log.truncateAfter(logIndex(2));
    append(log, [20, 20, 20], 2);
    const replaced = recordsOf(log);
    release();
    expect(await flushed).to.deep.equal({ index: 2, term: 1 });
    expect(log.flushedIndex).to.equal(2);
    disk.crash({ mode: 'lost' });
    expect(recordsOf(openLog(disk)).slice(0, 2)).to.deep.equal(replaced.slice(0, 2));
  });

  it('falls back with a truncation below what was flushed', async () => {
    const { log, release } = heldLog();
    append(log, [10, 10, 10], 1);
    const flushed = log.flush();
    release();
    await flushed;
    log.truncateAfter(logIndex(1));
    expect(log.flushedIndex).to.equal(1);
    expect(log.unflushedBytes).to.equal(0);
    append(log, [10], 2);
    expect(log.flushedIndex).to.equal(1);
  });

  it('of a closed segment is done before the next segment is made', () => {
    const { disk, log } = heldLog();
    const steps: string[] = [];
    disk.onOperation = ({ kind, path }) => {
      if (path.startsWith(`${DIRECTORY}/commitlog/`)) steps.push(`${kind} ${Number(path.slice(-20))}`);
    };
    append(log, [3000, 3000]);
    expect(steps).to.deep.equal(['write 0', 'write 0', 'flush 0', 'create 4096', 'truncate 4096', 'write 4096']);
    expect(log.flushedIndex).to.equal(1);
  });

  it('of a closed segment counts only when a flush that still ran over it has returned', async () => {
    const { disk, log, release } = heldLog();
    append(log, [100]);
    const flushed = log.flush();
    append(log, [3000, 3000]);
    expect(log.flushedIndex).to.equal(0);
    release();
    expect((await flushed).index).to.equal(2);
    expect(log.flushedIndex).to.equal(2);
    disk.crash({ mode: 'lost' });
    expect(openLog(disk).lastIndex).to.equal(2);
  });

  it('fails for all who wait when the log is closed meanwhile, though closing made it durable', async () => {
    const { disk, log, release } = heldLog();
    append(log, [10]);
    const flushed = log.flush().catch((error) => error.code);
    log.close();
    release();
    expect(await flushed).to.equal('SHUTTING_DOWN');
    disk.crash({ mode: 'lost' });
    expect(openLog(disk).lastIndex).to.equal(1);
  });
});
