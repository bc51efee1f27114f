// How the room of large removed files is given back: in pieces, and never under the hands of a reader.
import fs, {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  unlinkSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { DiskFile } from '../../src/storage/disk.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { PIECE_BYTES, RemovedFiles, WAITING_MAX } from '../../src/storage/removed_files.ts';
import { Reserve } from '../../src/storage/reserve.ts';
import { until } from '../rpc/harness.ts';

const SIZE_BYTES = 3 * PIECE_BYTES + 5;

describe('removed files', () => {
  const disk = new RealDisk();
  let root = '';
  const watched: number[] = [];
  const { ftruncate, fsyncSync, openSync: open } = fs;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'tledger-removed-'));
  });
  afterEach(() => {
    patch({ ftruncate, fsyncSync, openSync: open });
    for (const descriptor of watched.splice(0)) closeSync(descriptor);
    rmSync(root, { recursive: true, force: true });
  });

  function put(name: string, sizeBytes = SIZE_BYTES): DiskFile {
    const file = disk.open(`${root}/${name}`, { create: true });
    file.write(Buffer.alloc(sizeBytes, name), 0);
    return file;
  }

  /** Says what is left of a file, also when it has no name any more: asked past the disk, which knows nothing of it. */
  function watch(name: string): () => number {
    const descriptor = openSync(`${root}/${name}`, 'r');
    watched.push(descriptor);
    return () => fstatSync(descriptor).size;
  }

  function patch(functions: Partial<typeof fs>): void {
    Object.assign(fs, functions);
    syncBuiltinESMExports();
  }

  /** Sees each cut; lets it happen when `goesOn` says so, and fail when that fails. */
  function seeCuts(goesOn: () => Promise<void> = () => Promise.resolve()): number[] {
    const sizes: number[] = [];
    const seen = (descriptor: number, size: number, done: fs.NoParamCallback): void => {
      sizes.push(size);
      goesOn().then(() => ftruncate(descriptor, size, done), done);
    };
    patch({ ftruncate: seen as typeof fs.ftruncate });
    return sizes;
  }

  /** Whatever was removed before that is to be cut has been cut, as one comes after the other. */
  async function allCut(cuts: readonly number[]): Promise<void> {
    put('last').close();
    const left = watch('last');
    disk.remove(`${root}/last`);
    await until(() => left() === 0, 'the last file is cut');
    expect(cuts.at(-1)).to.equal(0);
  }

  it('takes the name at once, and the bytes from the end, a piece at a time', async () => {
    put('a').close();
    const left = watch('a');
    const cuts = seeCuts();
    disk.remove(`${root}/a`);
    expect(existsSync(`${root}/a`)).to.equal(false);
    expect(left()).to.equal(SIZE_BYTES);
    await until(() => left() === 0, 'all is cut');
    expect(cuts).to.deep.equal([2 * PIECE_BYTES + 5, PIECE_BYTES + 5, 5, 0]);
  });

  it('lets a file of one piece go with its name, and misses none that is not there', async () => {
    put('a', PIECE_BYTES).close();
    const left = watch('a');
    const cuts = seeCuts();
    disk.remove(`${root}/a`);
    disk.remove(`${root}/a`);
    await allCut(cuts);
    expect(left()).to.equal(PIECE_BYTES);
  });

  it('cuts nothing that a handle of this process still reads, until the last one is closed', async () => {
    const one = put('a');
    const other = disk.open(one.path);
    const left = watch('a');
    const cuts = seeCuts();
    one.close();
    disk.remove(one.path);
    await allCut(cuts);
    expect(left()).to.equal(SIZE_BYTES);
    const bytes = Buffer.alloc(SIZE_BYTES);
    expect(other.read(bytes, 0)).to.equal(SIZE_BYTES);
    other.close();
    await until(() => left() === 0, 'all is cut');
  });

  it('cuts nothing under a read that goes on behind its closed handle', async () => {
    const file = put('a');
    const bytes = Buffer.alloc(SIZE_BYTES);
    const left = watch('a');
    const reading = file.readAsync(bytes, 0);
    file.close();
    disk.remove(file.path);
    expect(await reading).to.equal(SIZE_BYTES);
    expect(bytes.equals(Buffer.alloc(SIZE_BYTES, 'a'))).to.equal(true);
    await until(() => left() === 0, 'all is cut');
  });

  it('leaves a file alone that has another name', async () => {
    put('a').close();
    linkSync(`${root}/a`, `${root}/kept`);
    const cuts = seeCuts();
    disk.remove(`${root}/a`);
    await allCut(cuts);
    expect(cuts).to.have.length(4);
    expect(readFileSync(`${root}/kept`).equals(Buffer.alloc(SIZE_BYTES, 'a'))).to.equal(true);
  });

  it('tells what is still to come back, and does not call it free', async () => {
    const sizeBytes = 16 * PIECE_BYTES;
    for (const name of ['a', 'b']) {
      const file = put(name, sizeBytes);
      file.flushNow();
      file.close();
    }
    const before = disk.space(root);
    let goOn = (): void => {};
    const told = new Promise<void>((resolve) => (goOn = resolve));
    seeCuts(() => told);
    const left = watch('b');
    for (const name of ['a', 'b']) disk.remove(`${root}/${name}`);
    const meanwhile = disk.space(root);
    goOn();
    await until(() => left() === 0, 'all is cut');
    expect(before.pendingBytes).to.equal(0);
    expect(meanwhile.pendingBytes).to.be.within(1.5 * sizeBytes, 2.5 * sizeBytes);
    // Others use the disk, too.
    expect(meanwhile.freeBytes - before.freeBytes).to.be.lessThan(0.5 * sizeBytes);
  });

  it('goes on with the next file when one cannot be cut', async () => {
    put('a').close();
    put('b').close();
    const left = watch('b');
    let tries = 0;
    seeCuts(() => (tries++ === 0 ? Promise.reject(new Error('EIO')) : Promise.resolve()));
    for (const name of ['a', 'b']) disk.remove(`${root}/${name}`);
    await until(() => left() === 0, 'all is cut');
    expect(tries).to.equal(5);
  });

  it('cuts nothing whose name may come back, as the directory could not be flushed', async () => {
    put('a').close();
    const left = watch('a');
    const cuts = seeCuts();
    const failing = (): void => {
      throw Object.assign(new Error('EIO'), { code: 'EIO' });
    };
    patch({ fsyncSync: failing });
    expect(() => disk.remove(`${root}/a`)).to.throw(`cannot flush directory ${root}: EIO`);
    patch({ fsyncSync });
    await allCut(cuts);
    expect(left()).to.equal(SIZE_BYTES);
  });

  it('removes at once what it cannot hold', async () => {
    put('a').close();
    const left = watch('a');
    const cuts = seeCuts();
    const failing = (path: string, flags: string | number): number => {
      if (flags === 'r+') throw Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
      return open(path, flags);
    };
    patch({ openSync: failing as typeof fs.openSync });
    disk.remove(`${root}/a`);
    patch({ openSync: open });
    expect(existsSync(`${root}/a`)).to.equal(false);
    await allCut(cuts);
    expect(left()).to.equal(SIZE_BYTES);
  });

  it('lets so many files wait, and takes hold of no more until they are done', async () => {
    const files = new RemovedFiles();
    const names = Array.from({ length: WAITING_MAX + 1 }, (_, at) => `f${at}`);
    for (const name of [...names, 'next']) {
      const file = put(name, 1);
      file.truncate(SIZE_BYTES);
      file.close();
    }
    // What cannot be cut is closed, which takes no time to speak of.
    let fail = (_: Error): void => {};
    const told = new Promise<void>((_, reject) => (fail = reject));
    const cuts = seeCuts(() => told);
    const isHeld = names.map((name) => {
      const letGo = files.hold(`${root}/${name}`);
      unlinkSync(`${root}/${name}`);
      letGo?.(true);
      return letGo !== null;
    });
    expect(isHeld).to.deep.equal(names.map((_, at) => at < WAITING_MAX));
    expect(files.hold(`${root}/next`)).to.equal(null);
    fail(new Error('EIO'));
    await until(() => files.pendingBytesAt(root) === 0, 'all is closed');
    expect(cuts).to.deep.equal(Array(WAITING_MAX).fill(2 * PIECE_BYTES + 5));
    const letGo = files.hold(`${root}/next`);
    expect(letGo).to.be.a('function');
    letGo?.(false);
  });

  it('gives the reserve back at once', async () => {
    const reserve = new Reserve(disk, root, SIZE_BYTES);
    await reserve.take(() => true);
    const left = watch('reserve');
    reserve.release();
    expect(left()).to.equal(0);
    expect(reserve.isHeld).to.equal(false);
  });
});
