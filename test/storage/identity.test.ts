import { expect } from 'chai';
import { crc32 } from '../../src/base/crc.ts';
import { claimDirectory, type Identity } from '../../src/storage/identity.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { codeOf } from './log_fixture.ts';

const directory = '/group';
const path = `${directory}/identity`;
const identity: Identity = { cluster: 'c1', group: 'g1', nodeId: 'n0', members: 'n0,n1,n2', segmentSizeBytes: 4096 };
const claim = (disk: MemoryDisk, changed: Partial<Identity> = {}) =>
  claimDirectory({ disk, directory, identity: { ...identity, ...changed } });

describe('identity of a data directory', () => {
  it('is written once, durably, and then found', () => {
    const disk = new MemoryDisk();
    claim(disk);
    disk.crash({ mode: 'lost' });
    const written = disk.bytes(path).toString();
    claim(disk);
    expect(disk.bytes(path).toString()).to.equal(written);
    expect(written).to.match(/^[0-9a-f]{8} \{.*\}\n$/);
  });

  for (const [name, other] of [
    ['cluster', 'c2'],
    ['group', 'g2'],
    ['nodeId', 'n1'],
    ['members', 'n0'],
    ['segmentSizeBytes', 8192],
  ] as const) {
    it(`refuses another ${name}, naming both`, () => {
      const disk = new MemoryDisk();
      claim(disk);
      expect(codeOf(() => claim(disk, { [name]: other }))).to.equal('DATA_DIR_FOREIGN');
      expect(() => claim(disk, { [name]: other })).to.throw(
        `${directory} belongs to ${name} ${JSON.stringify(identity[name])}, not ${JSON.stringify(other)}`,
      );
    });
  }

  it('refuses a directory of a newer format', () => {
    const disk = new MemoryDisk();
    const json = JSON.stringify({ formatVersion: 2, shards: 4 });
    disk.makeDirectory(directory);
    const crc = crc32(Buffer.from(json)).toString(16).padStart(8, '0');
    disk.open(path, { create: true }).write(Buffer.from(`${crc} ${json}\n`), 0);
    expect(codeOf(() => claim(disk))).to.equal('DATA_DIR_FOREIGN');
    expect(() => claim(disk)).to.throw('format version 2; this software reads up to version 1');
  });

  it('tells any damaged byte and any shortening', () => {
    const disk = new MemoryDisk();
    claim(disk);
    const bytes = disk.bytes(path);
    for (let at = 0; at < bytes.length; at++) {
      const flipped = disk.clone();
      flipped.corrupt(path, at, Buffer.of(bytes[at]! ^ 1));
      expect(
        codeOf(() => claim(flipped)),
        `byte ${at}`,
      ).to.equal('DATA_CORRUPTED');
      const shorter = disk.clone();
      shorter.open(path).truncate(at);
      expect(
        codeOf(() => claim(shorter)),
        `length ${at}`,
      ).to.equal('DATA_CORRUPTED');
    }
  });

  it('refuses a log whose identity is gone', () => {
    const disk = new MemoryDisk();
    claim(disk);
    disk.makeDirectory(`${directory}/commitlog`);
    disk.open(`${directory}/commitlog/00000000000000000000`, { create: true });
    disk.remove(path);
    expect(codeOf(() => claim(disk))).to.equal('DATA_CORRUPTED');
  });

  it('is whole or absent after a crash at any step', () => {
    for (let step = 1, isOver = false; !isOver; step++) {
      for (const mode of ['lost', 'kept'] as const) {
        const disk = new MemoryDisk();
        disk.onOperation = ({ number }) => {
          if (number >= step) throw new Error('crash');
        };
        try {
          claim(disk);
          isOver = true;
        } catch (error) {
          if ((error as Error).message !== 'crash') throw error;
        }
        disk.crash({ mode });
        claim(disk);
        claim(disk);
      }
    }
  });
});
