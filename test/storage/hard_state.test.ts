import { expect } from 'chai';
import { SeededRandom } from '../../src/base/random.ts';
import { type HardState, term } from '../../src/raft/types.ts';
import { HardStateFile, VOTE_BYTES_MAX } from '../../src/storage/hard_state.ts';
import { type CrashMode, MemoryDisk } from '../../src/storage/memory_disk.ts';
import { validSlots } from '../../src/storage/slots.ts';
import { codeOf } from './log_fixture.ts';

const directory = '/group';
const path = `${directory}/hardstate`;
const open = (disk: MemoryDisk) => HardStateFile.open({ disk, directory });
const state = (ofTerm: number, vote: string | null): HardState => ({ term: term(ofTerm), vote });
const history = [state(1, null), state(1, 'n0'), state(2, 'n1'), state(3, null), state(7, 'n2'), state(8, 'n0')];

describe('hard state', () => {
  it('begins with term 0 and no vote', () => {
    expect(open(new MemoryDisk()).state).to.deep.equal(state(0, null));
  });

  it('is there after a power loss as soon as save returns', () => {
    const disk = new MemoryDisk();
    for (const saved of history) {
      const file = open(disk);
      file.save(saved);
      disk.crash({ mode: 'lost' });
      expect(open(disk).state).to.deep.equal(saved);
    }
  });

  it('stands twice in its file, in different blocks of 4 KiB; the second is touched when the first is durable', () => {
    const disk = new MemoryDisk();
    const file = open(disk);
    let steps: string[] = [];
    disk.onOperation = ({ kind }) => void steps.push(kind);
    for (const saved of history) {
      const before = disk.bytes(path);
      steps = [];
      file.save(saved);
      expect(steps).to.deep.equal(['read', 'write', 'flush', 'write', 'flush']);
      const after = disk.bytes(path);
      const changed = [...after.keys()].filter((at) => after[at] !== before[at]);
      expect(new Set(changed.map((at) => Math.floor(at / 4096)))).to.deep.equal(new Set([0, 1]));
      const [first, second] = [after.subarray(0), after.subarray(4096)].map((slot) =>
        slot.toString('hex', 24, 24 + slot.readUInt32BE(16)),
      );
      expect(first).to.equal(second);
    }
  });

  for (const mode of ['killed', 'lost', 'kept', 'sectors'] as const satisfies readonly (CrashMode | 'killed')[]) {
    it(`crashed at any step (${mode}) is one of the states around it, as a whole`, () => {
      for (let step = 1, isOver = false; !isOver; step++) {
        const disk = new MemoryDisk();
        let saved = state(0, null);
        let pending = saved;
        disk.onOperation = ({ number }) => {
          if (number >= step) throw new Error('crash');
        };
        try {
          const file = open(disk);
          for (pending of history) {
            file.save(pending);
            saved = pending;
          }
          isOver = true;
        } catch (error) {
          if ((error as Error).message !== 'crash') throw error;
        }
        if (mode === 'killed') disk.kill();
        else disk.crash({ mode, random: new SeededRandom(step) });
        const found = open(disk).state;
        expect([saved, pending], `step ${step}`).to.deep.include(found);
        // Whatever it is now, it must stay: a second power loss changes nothing.
        disk.crash({ mode: 'lost' });
        expect(open(disk).state).to.deep.equal(found);
      }
    });
  }

  it('is the same whichever sector of it is damaged, and whole again after the next start; refused when both are', () => {
    const disk = new MemoryDisk();
    const file = open(disk);
    for (const [number, saved] of history.entries()) {
      file.save(saved);
      for (let at = 0; at < disk.bytes(path).length; at++) {
        if (at >= 64 && at < 4096) continue;
        if (number < history.length - 1 && at % 8 !== 0) continue;
        const copy = disk.clone();
        copy.corrupt(path, at, Buffer.of(copy.bytes(path)[at]! ^ 0x10));
        expect(open(copy).state, `byte ${at}`).to.deep.equal(saved);
        // That start wrote both slots, so the other one may go bad now.
        const other = at < 4096 ? 4096 : 0;
        copy.corrupt(path, other + 30, Buffer.of(0xff));
        expect(open(copy).state, `byte ${at}, then the other slot`).to.deep.equal(saved);
      }
    }
    disk.corrupt(path, 30, Buffer.of(0xff));
    disk.corrupt(path, 4096 + 30, Buffer.of(0xff));
    expect(codeOf(() => open(disk))).to.equal('DATA_CORRUPTED');
  });

  it('never brings an older term or vote back, torn at any step of save and then damaged in one sector', () => {
    for (let step = 1, isOver = false; !isOver; step++) {
      const disk = new MemoryDisk();
      const file = open(disk);
      file.save(state(7, 'n1'));
      const from = disk.operationCount;
      disk.onOperation = ({ number }) => {
        if (number >= from + step) throw new Error('crash');
      };
      try {
        file.save(state(8, 'n2'));
        isOver = true;
      } catch (error) {
        if ((error as Error).message !== 'crash') throw error;
      }
      disk.crash({ mode: 'sectors', random: new SeededRandom(step) });
      const found = open(disk).state;
      expect([state(7, 'n1'), state(8, 'n2')], `step ${step}`).to.deep.include(found);
      for (const slot of [0, 4096]) {
        const copy = disk.clone();
        copy.corrupt(path, slot + 30, Buffer.of(0x55));
        expect(open(copy).state, `step ${step}, slot at ${slot}`).to.deep.equal(found);
      }
    }
  });

  it('survives a save that is torn at any step when one sector went bad while the node ran', () => {
    for (const slot of [0, 4096]) {
      for (const saves of [1, 2]) {
        for (const failing of [2, 3, 4, 5]) {
          const disk = new MemoryDisk();
          const file = open(disk);
          for (let save = 1; save <= saves; save++) file.save(state(save, 'n1'));
          disk.corrupt(path, slot + 30, Buffer.of(0x55));
          disk.failAt(failing, 'short');
          expect(codeOf(() => file.save(state(8, 'n2')))).to.equal('STORAGE_FAILED');
          disk.kill();
          const found = open(disk).state;
          expect([state(saves, 'n1'), state(8, 'n2')], `slot at ${slot}, step ${failing}`).to.deep.include(found);
        }
      }
    }
  });

  it('brings back no older vote when one slot lost its last write and the next save is torn', () => {
    for (const slot of [0, 4096]) {
      for (const failing of [2, 3, 4, 5]) {
        const disk = new MemoryDisk();
        const file = open(disk);
        file.save(state(1, 'n1'));
        const lost = disk.bytes(path).subarray(slot, slot + 64);
        file.save(state(2, 'n1'));
        disk.corrupt(path, slot, lost);
        disk.failAt(failing, 'short');
        expect(codeOf(() => file.save(state(8, 'n2')))).to.equal('STORAGE_FAILED');
        disk.kill();
        const found = open(disk).state;
        expect([state(2, 'n1'), state(8, 'n2')], `slot at ${slot}, step ${failing}`).to.deep.include(found);
      }
    }
  });

  it('gets over a sector that cannot be read, in a node that runs and at its start, and is whole again then', () => {
    for (const slot of [0, 4096]) {
      for (const saves of [1, 2]) {
        const disk = new MemoryDisk();
        const file = open(disk);
        for (let save = 1; save <= saves; save++) file.save(state(save, 'n1'));
        const unread = disk.clone();
        unread.breakReads(path, slot + 30);
        expect(open(unread).state, `slot at ${slot}`).to.deep.equal(state(saves, 'n1'));
        expect(validSlots(unread, path)).to.deep.equal([true, true]);
        disk.breakReads(path, slot + 30);
        file.save(state(8, 'n2'));
        expect(open(disk).state).to.deep.equal(state(8, 'n2'));
        expect(validSlots(disk, path)).to.deep.equal([true, true]);
      }
    }
  });

  it('says so when nothing can be read, or only what is damaged', () => {
    const disk = new MemoryDisk();
    open(disk).save(state(4, 'n0'));
    disk.breakReads(path, 30);
    disk.corrupt(path, 4096 + 30, Buffer.of(0x55));
    expect(codeOf(() => open(disk))).to.equal('STORAGE_FAILED');
    disk.breakReads(path, 4096 + 30);
    expect(codeOf(() => open(disk))).to.equal('STORAGE_FAILED');
  });

  it('refuses an emptied file, which may have held a vote', () => {
    const disk = new MemoryDisk();
    open(disk).save(state(4, 'n0'));
    disk.open(path).truncate(0);
    expect(codeOf(() => open(disk))).to.equal('DATA_CORRUPTED');
  });

  it('never lets the term fall or the vote change within a term', () => {
    const file = open(new MemoryDisk());
    file.save(state(5, 'n0'));
    expect(() => file.save(state(4, 'n0'))).to.throw('term fell');
    expect(() => file.save(state(5, 'n1'))).to.throw('vote in term 5 changed');
    expect(() => file.save(state(5, null))).to.throw('vote in term 5 changed');
    expect(() => file.save(state(6, 'x'.repeat(VOTE_BYTES_MAX + 1)))).to.throw('longer than');
    file.save(state(6, 'x'.repeat(VOTE_BYTES_MAX)));
    expect(file.state.vote).to.have.length(VOTE_BYTES_MAX);
  });

  it('is final after a failed write or flush', () => {
    for (const failing of [2, 3, 4, 5]) {
      const disk = new MemoryDisk();
      const file = open(disk);
      file.save(state(1, 'n0'));
      disk.failAt(failing, 'EIO');
      expect(codeOf(() => file.save(state(2, 'n1')))).to.equal('STORAGE_FAILED');
      expect(file.state).to.deep.equal(state(1, 'n0'));
      expect(codeOf(() => file.save(state(3, 'n1')))).to.equal('STORAGE_FAILED');
    }
  });

  it('that a failed flush left in the page cache only is durable once it was read back', () => {
    const disk = new MemoryDisk();
    const file = open(disk);
    file.save(state(1, 'n0'));
    disk.failAt(3, 'EIO');
    expect(codeOf(() => file.save(state(2, 'n1')))).to.equal('STORAGE_FAILED');
    disk.kill();
    const found = open(disk).state;
    disk.crash({ mode: 'lost' });
    for (const slot of [0, 4096]) {
      const copy = disk.clone();
      copy.corrupt(path, slot + 30, Buffer.of(0x55));
      expect(open(copy).state, 'what messages relied on after the restart').to.deep.equal(found);
    }
  });

  it('refuses a state of a newer format', () => {
    const disk = new MemoryDisk();
    const newer = Buffer.from(FUTURE_SLOT, 'hex');
    open(disk).close();
    disk.corrupt(path, 0, newer);
    expect(() => open(disk)).to.throw('format version 2; this software reads version 1');
  });
});

/** A valid slot: magic "TLHS", version 2, generation 9, payload of 9 zeros. */
const FUTURE_SLOT = makeSlot();
function makeSlot(): string {
  const slot = Buffer.alloc(33);
  slot.write('TLHS', 0, 'latin1');
  slot.writeUInt32BE(2, 4);
  slot.writeUInt32BE(9, 12);
  slot.writeUInt32BE(9, 16);
  // CRC-32 bit by bit, so that the test does not lean on the code it tests.
  let crc = 0xffff_ffff;
  for (const [at, byte] of slot.entries()) {
    if (at >= 20 && at < 24) continue;
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  }
  slot.writeUInt32BE(~crc >>> 0, 20);
  return slot.toString('hex');
}
