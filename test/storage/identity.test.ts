import { expect } from 'chai';
import { crc32 } from '../../src/base/crc.ts';
import { claimDirectory, foundersGroupId, type Identity, readIdentity } from '../../src/storage/identity.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { codeOf } from './log_fixture.ts';

const directory = '/group';
const path = `${directory}/identity`;
const identity: Identity = { cluster: 'c1', group: 'g1', nodeId: 'n0', segmentSizeBytes: 4096 };
const founders = ['n0', 'n1', 'n2'];
const addressOf = (id: string) => ({ peer: `${id}:1`, client: `${id}:2` });
const claim = (disk: MemoryDisk, changed: Partial<Identity> = {}, founding: readonly string[] = founders) =>
  claimDirectory({
    disk,
    directory,
    identity: { ...identity, ...changed },
    founders: Object.fromEntries(founding.map((id) => [id, addressOf(id)])),
  });

function put(disk: MemoryDisk, fields: object): void {
  const json = JSON.stringify(fields);
  disk.makeDirectory(directory);
  const crc = crc32(Buffer.from(json)).toString(16).padStart(8, '0');
  disk.open(path, { create: true }).write(Buffer.from(`${crc} ${json}\n`), 0);
}

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

  it('holds a group id that all founders make alike, whatever order they are named in', () => {
    const made = claim(new MemoryDisk(), {}, ['n2', 'n0', 'n1']);
    expect(made.groupId).to.match(/^[0-9a-f]{16}$/);
    expect(made.groupId).to.equal(claim(new MemoryDisk(), { nodeId: 'n1' }).groupId);
    expect(made.wasMember).to.equal(true);
    const others = [
      claim(new MemoryDisk(), {}, ['n0', 'n1']),
      claim(new MemoryDisk(), { group: 'g2' }),
      claim(new MemoryDisk(), { cluster: 'c2' }),
    ];
    for (const { groupId } of others) expect(groupId).not.to.equal(made.groupId);
  });

  it('remembers the founders and where they were', () => {
    const disk = new MemoryDisk();
    claim(disk);
    expect(readIdentity(disk, directory).founders).to.deep.equal({
      n0: addressOf('n0'),
      n1: addressOf('n1'),
      n2: addressOf('n2'),
    });
  });

  it('keeps its group id although the members told are others now', () => {
    const disk = new MemoryDisk();
    const { groupId } = claim(disk);
    expect(claim(disk, {}, ['n7', 'n8']).groupId).to.equal(groupId);
    expect(claim(disk, {}, []).groupId).to.equal(groupId);
  });

  it('of a node that joins has no group until one takes it in, for good', () => {
    const disk = new MemoryDisk();
    const joining = claim(disk, {}, []);
    expect([joining.groupId, joining.wasMember]).to.deep.equal([null, false]);
    expect(claim(disk, {}, founders).groupId, 'not a founder by being told of some').to.equal(null);
    joining.adopt('0123456789abcdef');
    joining.noteMember();
    disk.crash({ mode: 'lost' });
    const found = readIdentity(disk, directory);
    expect([found.groupId, found.wasMember]).to.deep.equal(['0123456789abcdef', true]);
    expect(found.identity).to.deep.equal(identity);
    expect(() => found.adopt('fedcba9876543210')).to.throw('once');
    expect(() => claim(new MemoryDisk(), {}, []).adopt('anything')).to.throw('once');
  });

  it('changes its group only when it is told to found its own', () => {
    const disk = new MemoryDisk();
    claim(disk).notePromised('n1');
    claim(disk).secede('fedcba9876543210');
    disk.crash({ mode: 'lost' });
    expect(claim(disk).groupId).to.equal('fedcba9876543210');
    expect(claim(disk).promised, 'of the old group').to.deep.equal([]);
  });

  it('of version 1 has the group id of the members it named', () => {
    const disk = new MemoryDisk();
    put(disk, { formatVersion: 1, ...identity, members: 'n0,n1,n2' });
    const found = claim(disk);
    expect([found.groupId, found.wasMember]).to.deep.equal([foundersGroupId('c1', 'g1', founders), true]);
    expect(Object.keys(found.founders)).to.deep.equal(founders);
  });

  it('of version 2 knows of nobody who promised anything, and is read', () => {
    const disk = new MemoryDisk();
    const addresses = { n0: addressOf('n0') };
    put(disk, { formatVersion: 2, ...identity, groupId: '0123456789abcdef', wasMember: true, founders: addresses });
    const found = claim(disk);
    expect([found.groupId, found.promised]).to.deep.equal(['0123456789abcdef', []]);
    expect(found.identity).to.deep.equal(identity);
    expect(found.founders).to.deep.equal(addresses);
    found.notePromised('n2');
    expect(claim(disk).promised).to.deep.equal(['n2']);
    expect(disk.bytes(path).toString()).to.include('"formatVersion":3');
  });

  it('remembers who promised something, written once a member, until it is out', () => {
    const disk = new MemoryDisk();
    const claimed = claim(disk);
    claimed.notePromised('n1');
    claimed.notePromised('n2');
    let writes = 0;
    disk.onOperation = () => {
      writes++;
    };
    claimed.notePromised('n1');
    claimed.forgetAllBut(() => true);
    expect(writes, 'nothing is new').to.equal(0);
    disk.crash({ mode: 'lost' });
    const found = claim(disk);
    expect(found.promised).to.deep.equal(['n1', 'n2']);
    found.forgetAllBut((id) => id === 'n2');
    disk.crash({ mode: 'lost' });
    expect(claim(disk).promised).to.deep.equal(['n2']);
  });

  it('refuses a directory of a newer format, and one that holds nothing', () => {
    const disk = new MemoryDisk();
    expect(codeOf(() => readIdentity(disk, directory))).to.equal('DATA_DIR_FOREIGN');
    put(disk, { formatVersion: 4, shards: 4 });
    expect(codeOf(() => claim(disk))).to.equal('DATA_DIR_FOREIGN');
    expect(() => claim(disk)).to.throw('format version 4; this software reads up to version 3');
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

  it('is whole, old or new, after a crash at any step', () => {
    for (let step = 1, isOver = false; !isOver; step++) {
      for (const mode of ['lost', 'kept'] as const) {
        const disk = new MemoryDisk();
        disk.onOperation = ({ number }) => {
          if (number >= step) throw new Error('crash');
        };
        let isAdopted = false;
        try {
          claim(disk, {}, []).adopt('0123456789abcdef');
          isAdopted = true;
          isOver = true;
        } catch (error) {
          if ((error as Error).message !== 'crash') throw error;
        }
        disk.crash({ mode });
        const { groupId } = claim(disk, {}, []);
        expect(groupId).to.be.oneOf(isAdopted ? ['0123456789abcdef'] : [null, '0123456789abcdef']);
        claim(disk, {}, []);
      }
    }
  });
});
