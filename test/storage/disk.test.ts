import fs, { mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { describeDisk } from './disk_conformance.ts';

let directory = '';
const makeReal = () => {
  directory = mkdtempSync(join(tmpdir(), 'tledger-disk-'));
  return { disk: new RealDisk(), root: directory };
};
const removeReal = () => rmSync(directory, { recursive: true, force: true });

describeDisk('real files', makeReal, removeReal);
describeDisk(
  'memory',
  () => {
    const disk = new MemoryDisk();
    disk.makeDirectory('/root');
    return { disk, root: '/root' };
  },
  () => {},
);

describe('real disk', () => {
  afterEach(removeReal);

  /** Runs `work` with `fs.writeSync` and `fs.fsyncSync` replaced. */
  function withPatchedFs(patch: Partial<typeof fs>, work: () => void): void {
    const saved = { writeSync: fs.writeSync, fsyncSync: fs.fsyncSync };
    Object.assign(fs, patch);
    syncBuiltinESMExports();
    try {
      work();
    } finally {
      Object.assign(fs, saved);
      syncBuiltinESMExports();
    }
  }

  it('continues a short write, in pieces of at most 64 KiB', () => {
    const { disk, root } = makeReal();
    const file = disk.open(`${root}/a`, { create: true });
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, at) => at % 251));
    const pieces: number[] = [];
    const real = fs.writeSync as (...args: unknown[]) => number;
    const short = (descriptor: number, from: Buffer, at: number, length: number, position: number): number => {
      pieces.push(length);
      return real(descriptor, from, at, Math.ceil(length / 3), position);
    };
    withPatchedFs({ writeSync: short as typeof fs.writeSync }, () => file.write(bytes, 5));
    const back = Buffer.alloc(bytes.length);
    file.read(back, 5);
    file.close();
    expect(back.equals(bytes)).to.equal(true);
    expect(Math.max(...pieces)).to.equal(65_536);
  });

  it('flushes the directory when it creates, removes, renames, links or makes a directory', () => {
    const { disk, root } = makeReal();
    let flushed = 0;
    const real = fs.fsyncSync;
    const counting = (descriptor: number): void => {
      flushed++;
      real(descriptor);
    };
    const cases: readonly [number, () => void][] = [
      [1, () => disk.open(`${root}/a`, { create: true }).close()],
      [1, () => disk.rename(`${root}/a`, `${root}/b`)],
      [1, () => disk.link(`${root}/b`, `${root}/l`)],
      [1, () => disk.remove(`${root}/b`)],
      [2, () => disk.makeDirectory(`${root}/c/d`)],
    ];
    for (const [count, act] of cases) {
      flushed = 0;
      withPatchedFs({ fsyncSync: counting }, act);
      expect(flushed).to.equal(count);
    }
  });
});

describe('memory disk', () => {
  it('links files within one file system only', () => {
    const disk = new MemoryDisk();
    disk.fileSystemOf = (path) => path.slice(0, 2);
    disk.makeDirectory('/a');
    disk.makeDirectory('/b');
    disk.open('/a/f', { create: true }).close();
    expect(disk.link('/a/f', '/b/f')).to.equal(false);
    expect(disk.files()).to.deep.equal(['/a/f']);
    expect(disk.link('/a/f', '/a/g')).to.equal(true);
  });

  const sector = 512;
  const start = () => {
    const disk = new MemoryDisk();
    const file = disk.open('/a', { create: true });
    file.write(Buffer.alloc(4 * sector, 'a'), 0);
    file.flushNow();
    file.write(Buffer.alloc(4 * sector, 'b'), 0);
    return { disk, file };
  };

  it('loses exactly the unflushed writes in a crash of mode lost, keeps them in kept', () => {
    for (const [mode, left] of [
      ['lost', 'a'],
      ['kept', 'b'],
    ] as const) {
      const { disk } = start();
      disk.crash({ mode });
      expect(disk.bytes('/a').equals(Buffer.alloc(4 * sector, left))).to.equal(true);
    }
  });

  it('keeps everything written when only the process is killed, but not yet durably', () => {
    const { disk, file } = start();
    disk.kill();
    expect(disk.bytes('/a').toString()[0]).to.equal('b');
    expect(() => file.sizeBytes() && file.read(Buffer.alloc(1), 0)).to.throw('has ended');
    disk.crash({ mode: 'lost' });
    expect(disk.bytes('/a').toString()[0]).to.equal('a');
  });

  it('tears unflushed writes by whole sectors, differently from seed to seed', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const { disk } = start();
      disk.crash({ mode: 'sectors', random: new SeededRandom(seed) });
      const bytes = disk.bytes('/a').toString();
      let pattern = '';
      for (let at = 0; at < bytes.length; at += sector) {
        expect(new Set(bytes.slice(at, at + sector)).size).to.equal(1);
        pattern += bytes[at];
      }
      seen.add(pattern);
    }
    expect(seen.size).to.equal(16);
  });

  it('makes durable with flush what was written before the call, not after', async () => {
    const { disk, file } = start();
    const finishers: (() => void)[] = [];
    disk.deferFlush = (finish) => finishers.push(finish);
    const flushed = file.flush();
    file.write(Buffer.from('c'), 0);
    finishers[0]!();
    await flushed;
    disk.crash({ mode: 'lost' });
    expect(disk.bytes('/a').toString()[0]).to.equal('b');
  });

  it('never makes durable what a failed flush was to carry', () => {
    const { disk, file } = start();
    disk.failAt(1, 'EIO');
    expect(() => file.flushNow()).to.throw('EIO');
    file.flushNow();
    disk.crash({ mode: 'lost' });
    expect(disk.bytes('/a').toString()[0]).to.equal('a');
  });

  it('fails the n-th step as told; a short write leaves its first half', () => {
    const { disk, file } = start();
    disk.failAt(2, 'short');
    file.write(Buffer.from('cc'), 0);
    expect(() => file.write(Buffer.from('dddd'), 0)).to.throw('ENOSPC');
    expect(disk.bytes('/a').toString('latin1', 0, 4)).to.equal('ddbb');
    file.write(Buffer.from('e'), 0);
  });

  it('may lose a name in a crash before the directory was flushed, never after', () => {
    for (const [kind, exists] of [
      ['create', false],
      ['flush-directory', false],
      [null, true],
    ] as const) {
      const disk = new MemoryDisk();
      disk.onOperation = (operation) => {
        if (operation.kind === kind) throw new Error('crash');
      };
      try {
        disk.open('/a', { create: true });
      } catch {}
      disk.crash({ mode: 'lost' });
      expect(disk.exists('/a'), String(kind)).to.equal(exists);
    }
  });

  it('flips one bit of a stored byte, for good, whether it was flushed or not', async () => {
    for (const mode of ['lost', 'kept', 'flushed'] as const) {
      const { disk, file } = start();
      const copy = disk.clone();
      disk.flip('/a', 700, 2);
      expect(disk.bytes('/a')[700]).to.equal(0x62 ^ 4);
      if (mode === 'flushed') file.flushNow();
      disk.crash({ mode: mode === 'kept' ? 'kept' : 'lost' });
      expect(disk.bytes('/a')[700]).to.equal((mode === 'lost' ? 0x61 : 0x62) ^ 4);
      expect([...disk.bytes('/a')].filter((byte) => byte !== (mode === 'lost' ? 0x61 : 0x62))).to.have.length(1);
      copy.crash({ mode: 'kept' });
      expect(new Set(copy.bytes('/a'))).to.deep.equal(new Set([0x62]));
    }
    const { disk, file } = start();
    disk.flip('/a', 700, 2);
    file.write(Buffer.from('c'), 700);
    expect(disk.bytes('/a')[700]).to.equal(0x63);
    expect(() => disk.flip('/a', 4 * sector, 0)).to.throw('no byte');
    expect(() => disk.flip('/b', 0, 0)).to.throw('ENOENT');
  });

  it('loses a file for good, also one whose name is not durable yet', () => {
    for (const mode of ['lost', 'kept'] as const) {
      const { disk, file } = start();
      disk.onOperation = ({ kind, path }) => {
        if (kind === 'flush-directory' && path === '/') throw new Error('crash');
      };
      expect(() => disk.open('/b', { create: true })).to.throw('crash');
      disk.onOperation = null;
      disk.lose('/a');
      disk.lose('/b');
      expect(file.read(Buffer.alloc(1), 0)).to.equal(1);
      for (let round = 0; round < 2; round++) {
        expect(disk.files()).to.deep.equal([]);
        disk.crash({ mode });
      }
    }
  });

  it('fails reads that touch a broken sector until it is written', async () => {
    const { disk, file } = start();
    disk.breakReads('/a', sector + 5);
    const read = (from: number, count: number) => () => file.read(Buffer.alloc(count), from);
    for (const [from, count] of [
      [sector, 1],
      [2 * sector - 1, 1],
      [0, 4 * sector],
    ] as const) {
      expect(read(from, count)).to.throw('cannot read /a: EIO').with.property('code', 'STORAGE_FAILED');
    }
    expect(read(0, sector)).not.to.throw();
    expect(read(2 * sector, sector)).not.to.throw();
    const broken = await file.readAsync(Buffer.alloc(1), sector).catch((error: unknown) => error);
    expect(broken).to.have.property('code', 'STORAGE_FAILED');
    const copy = disk.clone();
    expect(() => copy.open('/a').read(Buffer.alloc(1), sector)).to.throw('EIO');
    file.write(Buffer.alloc(1), sector);
    expect(read(0, 4 * sector)).not.to.throw();
  });

  it('names a stored byte to damage: any, of the files asked for, never behind what was written', () => {
    const disk = new MemoryDisk();
    expect(disk.randomStoredByte(new SeededRandom(1))).to.equal(null);
    const put = (path: string, bytes: Buffer, at: number): void => {
      const file = disk.open(path, { create: true });
      file.truncate(1_000_000);
      file.write(bytes, at);
    };
    put('/a', Buffer.from('xyz'), 10);
    put('/b', Buffer.from('uvw'), 500_000);
    put('/c', Buffer.alloc(100), 500_000);
    const seen = new Set<string>();
    const random = new SeededRandom(1);
    for (let round = 0; round < 200; round++) {
      const { path, position } = disk.randomStoredByte(random)!;
      seen.add(`${path} ${position}`);
      expect(disk.randomStoredByte(random, (file) => file === '/b')!.path).to.equal('/b');
    }
    expect([...seen].sort()).to.deep.equal(['/a 10', '/a 11', '/a 12', '/b 500000', '/b 500001', '/b 500002']);
  });

  it('copies itself', () => {
    const { disk } = start();
    const copy = disk.clone();
    copy.crash({ mode: 'lost' });
    expect(copy.bytes('/a').toString()[0]).to.equal('a');
    expect(disk.bytes('/a').toString()[0]).to.equal('b');
  });
});
