// How the room of large removed files is given back: in pieces, and never under the hands of a reader.
import fs, { closeSync, existsSync, fstatSync, linkSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { DiskFile } from '../../src/storage/disk.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { PIECE_BYTES } from '../../src/storage/removed_files.ts';

const SIZE_BYTES = 3 * PIECE_BYTES + 5;

/** Looks until it is so; mocha's time limit ends what never is. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('removed files', () => {
  const disk = new RealDisk();
  let root = '';
  const watched: number[] = [];
  const realTruncate = fs.ftruncate;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'tledger-removed-'));
  });
  afterEach(() => {
    fs.ftruncate = realTruncate;
    syncBuiltinESMExports();
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

  /** Sees each cut; lets it happen when `goesOn` says so. */
  function seeCuts(goesOn: Promise<void> = Promise.resolve()): number[] {
    const sizes: number[] = [];
    fs.ftruncate = ((descriptor: number, size: number, done: (error: NodeJS.ErrnoException | null) => void) => {
      sizes.push(size);
      void goesOn.then(() => realTruncate(descriptor, size, done));
    }) as typeof fs.ftruncate;
    syncBuiltinESMExports();
    return sizes;
  }

  it('takes the name at once, and the bytes from the end, a piece at a time', async () => {
    put('a').close();
    const left = watch('a');
    const cuts = seeCuts();
    disk.remove(`${root}/a`);
    expect(existsSync(`${root}/a`)).to.equal(false);
    expect(left()).to.equal(SIZE_BYTES);
    await until(() => left() === 0);
    expect(cuts).to.deep.equal([2 * PIECE_BYTES + 5, PIECE_BYTES + 5, 5, 0]);
  });

  it('lets a file of one piece go with its name, and misses none that is not there', async () => {
    put('a', PIECE_BYTES).close();
    const left = watch('a');
    const cuts = seeCuts();
    disk.remove(`${root}/a`);
    disk.remove(`${root}/a`);
    put('b').close();
    disk.remove(`${root}/b`);
    await until(() => cuts.at(-1) === 0);
    expect(left()).to.equal(PIECE_BYTES);
  });

  it('cuts nothing that a handle of this process still reads, until the last one is closed', async () => {
    const one = put('a');
    const other = disk.open(one.path);
    const left = watch('a');
    const cuts = seeCuts();
    one.close();
    disk.remove(one.path);
    put('b').close();
    disk.remove(`${root}/b`);
    await until(() => cuts.at(-1) === 0);
    expect(left()).to.equal(SIZE_BYTES);
    const bytes = Buffer.alloc(SIZE_BYTES);
    expect(other.read(bytes, 0)).to.equal(SIZE_BYTES);
    other.close();
    await until(() => left() === 0);
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
    await until(() => left() === 0);
  });

  it('leaves a file alone that has another name', async () => {
    put('a').close();
    linkSync(`${root}/a`, `${root}/kept`);
    const cuts = seeCuts();
    disk.remove(`${root}/a`);
    put('b').close();
    disk.remove(`${root}/b`);
    await until(() => cuts.at(-1) === 0);
    expect(cuts).to.have.length(4);
    expect(readFileSync(`${root}/kept`).equals(Buffer.alloc(SIZE_BYTES, 'a'))).to.equal(true);
  });

  it('counts as free what it is still to give back', async () => {
    const sizeBytes = 16 * PIECE_BYTES;
    for (const name of ['a', 'b']) {
      const file = put(name, sizeBytes);
      file.flushNow();
      file.close();
    }
    const before = disk.space(root).freeBytes;
    let goOn = (): void => {};
    seeCuts(new Promise((resolve) => (goOn = resolve)));
    const left = watch('b');
    for (const name of ['a', 'b']) disk.remove(`${root}/${name}`);
    // Others use the disk, too.
    const gained = disk.space(root).freeBytes - before;
    goOn();
    await until(() => left() === 0);
    expect(gained).to.be.within(1.5 * sizeBytes, 2.5 * sizeBytes);
  });

  it('goes on with the next file when one cannot be cut', async () => {
    put('a').close();
    put('b').close();
    const left = watch('b');
    let failures = 0;
    fs.ftruncate = ((descriptor: number, size: number, done: (error: NodeJS.ErrnoException | null) => void) => {
      if (failures++ === 0) setImmediate(() => done(Object.assign(new Error('EIO'), { code: 'EIO' })));
      else realTruncate(descriptor, size, done);
    }) as typeof fs.ftruncate;
    syncBuiltinESMExports();
    for (const name of ['a', 'b']) disk.remove(`${root}/${name}`);
    await until(() => left() === 0);
    expect(failures).to.equal(5);
  });
});
