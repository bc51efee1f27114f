// What every implementation of the disk port must do; run on the real disk and on its in-memory twin.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import type { Disk } from '../../src/storage/disk.ts';

/** Declares the suite. `make` gives a disk and an empty directory on it; `clean` runs after each test. */
export function describeDisk(name: string, make: () => { disk: Disk; root: string }, clean: () => void): void {
  describe(`disk port: ${name}`, () => {
    let disk: Disk;
    let root: string;
    beforeEach(() => {
      ({ disk, root } = make());
    });
    afterEach(clean);

    const text = (path: string): string => {
      const file = disk.open(path);
      const bytes = Buffer.alloc(file.sizeBytes());
      expect(file.read(bytes, 0)).to.equal(bytes.length);
      file.close();
      return bytes.toString();
    };
    const put = (path: string, content: string): void => {
      const file = disk.open(path, { create: true });
      file.write(Buffer.from(content), 0);
      file.close();
    };

    it('refuses to open a missing file unless asked to create it', () => {
      const path = `${root}/a`;
      const error = failureOf(() => disk.open(path));
      expect(error.message).to.include(path).and.include('ENOENT');
      expect(disk.exists(path)).to.equal(false);
      disk.open(path, { create: true }).close();
      expect(disk.exists(path)).to.equal(true);
      expect(text(path)).to.equal('');
    });

    it('keeps the content of an existing file opened with create', () => {
      put(`${root}/a`, 'kept');
      disk.open(`${root}/a`, { create: true }).close();
      expect(text(`${root}/a`)).to.equal('kept');
    });

    it('reads what was written, also through another handle, and less at the end of the file', () => {
      const file = disk.open(`${root}/a`, { create: true });
      file.write(Buffer.from('0123456789'), 0);
      file.write(Buffer.from('xy'), 3);
      expect(text(`${root}/a`)).to.equal('012xy56789');
      const target = Buffer.alloc(6, '.');
      expect(file.read(target, 7)).to.equal(3);
      expect(target.toString()).to.equal('789...');
      expect(file.read(target, 10)).to.equal(0);
      expect(file.read(target, 1000)).to.equal(0);
      file.close();
    });

    it('reads without blocking: the same bytes, several at a time, less at the end, also when closed meanwhile', async () => {
      const bytes = Buffer.from(Array.from({ length: 300_001 }, (_, at) => (at * 31 + (at >> 8)) & 0xff));
      const file = disk.open(`${root}/a`, { create: true });
      file.write(bytes, 0);
      const places = [
        [0, 300_001],
        [65_537, 200_000],
        [300_000, 5],
        [300_001, 1],
        [400_000, 1],
      ] as const;
      const targets = places.map(([, count]) => Buffer.alloc(count, '.'));
      const reads = places.map(([from], at) => file.readAsync(targets[at]!, from));
      file.close();
      expect(await Promise.all(reads)).to.deep.equal([300_001, 200_000, 1, 0, 0]);
      for (const [at, [from, count]] of places.entries()) {
        const read = bytes.subarray(from, from + count);
        expect(targets[at]!.subarray(0, read.length).equals(read)).to.equal(true);
        expect(targets[at]!.subarray(read.length).every((byte) => byte === 0x2e)).to.equal(true);
      }
      const refused = await file.readAsync(Buffer.alloc(1), 0).then(String, String);
      expect(refused).to.include('after it was closed');
    });

    it('does not keep the buffer of a write', () => {
      const file = disk.open(`${root}/a`, { create: true });
      const bytes = Buffer.from('before');
      file.write(bytes, 0);
      bytes.fill('x');
      expect(text(`${root}/a`)).to.equal('before');
      file.close();
    });

    it('fills a gap before a write with zeros', () => {
      const file = disk.open(`${root}/a`, { create: true });
      file.write(Buffer.from('z'), 5000);
      expect(file.sizeBytes()).to.equal(5001);
      const bytes = Buffer.alloc(5001, 1);
      expect(file.read(bytes, 0)).to.equal(5001);
      expect(bytes.subarray(0, 5000).equals(Buffer.alloc(5000))).to.equal(true);
      file.close();
    });

    for (const size of [1, 511, 4096, 65_536, 65_537, 300_001]) {
      it(`writes and reads ${size} bytes in one call`, () => {
        const bytes = Buffer.from(Array.from({ length: size }, (_, at) => (at * 31 + (at >> 8)) & 0xff));
        const file = disk.open(`${root}/a`, { create: true });
        file.write(bytes, 777);
        const back = Buffer.alloc(size);
        expect(file.read(back, 777)).to.equal(size);
        expect(back.equals(bytes)).to.equal(true);
        file.close();
      });
    }

    it('cuts and extends; what was cut off does not come back', () => {
      put(`${root}/a`, 'abcdefgh');
      const file = disk.open(`${root}/a`);
      file.truncate(3);
      expect(file.sizeBytes()).to.equal(3);
      file.truncate(6);
      expect(text(`${root}/a`)).to.equal('abc\0\0\0');
      file.close();
    });

    it('flushes, blocking and not, several at a time, also when closed meanwhile', async () => {
      const file = disk.open(`${root}/a`, { create: true });
      file.write(Buffer.from('1'), 0);
      file.flushNow();
      const flushes = [file.flush(), file.flush()];
      file.close();
      await Promise.all(flushes);
      expect(text(`${root}/a`)).to.equal('1');
    });

    it('refuses a file after it was closed; closing twice is harmless', () => {
      const file = disk.open(`${root}/a`, { create: true });
      file.close();
      file.close();
      for (const use of [
        () => file.read(Buffer.alloc(1), 0),
        () => file.write(Buffer.alloc(1), 0),
        () => file.truncate(0),
        () => file.flushNow(),
        () => file.sizeBytes(),
      ]) {
        expect(use).to.throw('after it was closed');
      }
    });

    it('lists names in order, nothing for a missing directory, and one level only', () => {
      disk.makeDirectory(`${root}/d/e`);
      for (const name of ['b', 'a', 'c']) put(`${root}/d/${name}`, name);
      put(`${root}/d/e/deep`, '');
      expect(disk.list(`${root}/d`)).to.deep.equal(['a', 'b', 'c', 'e']);
      expect(disk.list(`${root}/missing`)).to.deep.equal([]);
    });

    it('makes directories with their parents, and again without harm', () => {
      disk.makeDirectory(`${root}/x/y/z`);
      disk.makeDirectory(`${root}/x/y/z`);
      put(`${root}/x/y/z/file`, 'in');
      expect(text(`${root}/x/y/z/file`)).to.equal('in');
      expect(disk.exists(`${root}/x/y`)).to.equal(true);
    });

    it('removes a file; a missing one is no error', () => {
      put(`${root}/a`, 'x');
      disk.remove(`${root}/a`);
      disk.remove(`${root}/a`);
      expect(disk.exists(`${root}/a`)).to.equal(false);
    });

    it('renames over another file', () => {
      disk.makeDirectory(`${root}/d`);
      put(`${root}/new`, 'new');
      put(`${root}/d/old`, 'old');
      disk.rename(`${root}/new`, `${root}/d/old`);
      expect(text(`${root}/d/old`)).to.equal('new');
      expect(disk.exists(`${root}/new`)).to.equal(false);
    });

    it('gives a file a second name, under which it lives on when the first is removed', () => {
      disk.makeDirectory(`${root}/d`);
      put(`${root}/a`, 'shared');
      expect(disk.link(`${root}/a`, `${root}/d/b`)).to.equal(true);
      expect(disk.list(`${root}/d`)).to.deep.equal(['b']);
      const file = disk.open(`${root}/d/b`);
      file.write(Buffer.from('SH'), 0);
      expect(text(`${root}/a`)).to.equal('SHared');
      disk.remove(`${root}/a`);
      expect(text(`${root}/d/b`)).to.equal('SHared');
      file.close();
    });

    it('names path and errno of whatever fails', () => {
      put(`${root}/other`, '');
      put(`${root}/file`, '');
      const failing: readonly [string, string, () => unknown][] = [
        [`${root}/no/file`, 'ENOENT', () => disk.open(`${root}/no/file`, { create: true })],
        [`${root}/none`, 'ENOENT', () => disk.rename(`${root}/none`, `${root}/other`)],
        [`${root}/none`, 'ENOENT', () => disk.link(`${root}/none`, `${root}/new`)],
        [`${root}/file`, 'EEXIST', () => disk.link(`${root}/file`, `${root}/other`)],
        [`${root}/file`, 'ENOENT', () => disk.link(`${root}/file`, `${root}/no/file`)],
        [`${root}/file/below`, 'ENOTDIR', () => disk.open(`${root}/file/below`, { create: true })],
      ];
      for (const [path, errno, act] of failing) {
        const error = failureOf(act);
        expect(error.code).to.equal('STORAGE_FAILED');
        expect(error.message).to.include(path).and.include(errno);
        expect(error.cause).to.be.instanceOf(Error).and.have.property('code', errno);
      }
    });
  });
}

function failureOf(act: () => unknown): TLedgerError {
  try {
    act();
  } catch (error) {
    expect(error).to.be.instanceOf(TLedgerError);
    return error as TLedgerError;
  }
  throw new Error('it did not fail');
}
