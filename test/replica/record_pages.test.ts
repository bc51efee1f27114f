import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import { indexAtPosition, recordPage } from '../../src/replica/record_pages.ts';
import type { Damage } from '../../src/storage/damage.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { append, DIRECTORY, openLog } from '../storage/log_fixture.ts';

describe('replica: pages of records', () => {
  const told: Damage[] = [];
  const onDamage = (damage: Damage): void => void told.push(damage);
  const start = () => {
    const disk = new MemoryDisk();
    const log = openLog(disk, { cacheBytesMax: 0 });
    for (let round = 0; round < 10; round++) append(log, [100, 200, 300], 1, round);
    return { disk, log };
  };

  it('gives what is committed, page by page, and nothing behind it', () => {
    const { log } = start();
    const applied = logIndex(25);
    const seen: number[] = [];
    for (let from = logIndex(1); from <= applied; ) {
      const { records, nextIndex, firstIndex, appliedIndex } = recordPage({ log, applied, onDamage }, from, 4);
      expect([firstIndex, appliedIndex]).to.deep.equal([1, applied]);
      for (const { index, bytes } of records) {
        const { buffer, start: at, end } = log.read(index, index);
        expect(bytes!.equals(buffer.subarray(at, end))).to.equal(true);
        seen.push(index);
      }
      from = nextIndex;
    }
    expect(seen).to.deep.equal(Array.from({ length: 25 }, (_, at) => at + 1));
    expect(recordPage({ log, applied, onDamage }, logIndex(26), 4).records).to.deep.equal([]);
  });

  it('never gives damaged bytes: it says so, and goes on behind them', () => {
    const { disk, log } = start();
    const { position } = log.locate(logIndex(5));
    disk.flip(`${DIRECTORY}/commitlog/${'0'.repeat(20)}`, position + 60, 2);
    const { records } = recordPage({ log, applied: logIndex(30), onDamage }, logIndex(4), 3);
    expect(records.map(({ index, bytes }) => [index, bytes === null])).to.deep.equal([
      [4, false],
      [5, true],
      [6, false],
    ]);
    expect(records[1]!.damage).to.include(`${'0'.repeat(20)} is damaged at`);
    expect(told.map((damage) => damage.kind)).to.deep.equal(['log']);
  });

  it('finds the record at or behind a position', () => {
    const { log } = start();
    for (let index = 1; index <= 30; index++) {
      const { position } = log.locate(logIndex(index));
      expect(indexAtPosition(log, logIndex(30), position)).to.equal(index);
      expect(indexAtPosition(log, logIndex(30), position + 1)).to.equal(index + 1);
    }
  });
});
