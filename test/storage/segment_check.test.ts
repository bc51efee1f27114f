import { expect } from 'chai';
import { EMPTY_TIP } from '../../src/storage/log_tip.ts';
import { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { SegmentCheck } from '../../src/storage/segment_check.ts';
import { append, DIRECTORY, openLog } from './log_fixture.ts';

const SIZE = 800;
const FIRST = `${DIRECTORY}/commitlog/00000000000000000000`;

function segment(): { bytes: Buffer; lastIndex: number } {
  const disk = new MemoryDisk();
  const log = openLog(disk, { segmentSizeBytes: SIZE });
  append(log, [0, 200, 77, 150], 2);
  append(log, [190, 100], 3, 5);
  const bytes = disk.bytes(FIRST);
  const lastIndex = log.sealedBoundaries[0]!;
  log.close();
  return { bytes, lastIndex };
}

function check(bytes: Buffer, pieceBytes = bytes.length): SegmentCheck {
  const made = new SegmentCheck(EMPTY_TIP, 0, SIZE);
  for (let at = 0; at < bytes.length; at += pieceBytes) made.feed(bytes.subarray(at, at + pieceBytes));
  return made;
}

describe('the check of a segment', () => {
  it('says the same whatever the pieces', () => {
    const { bytes, lastIndex } = segment();
    const whole = check(bytes);
    expect([whole.fault, whole.isClosed, whole.hasCleanPadding, whole.tip.index]).to.deep.equal([
      null,
      true,
      true,
      lastIndex,
    ]);
    for (let pieceBytes = 1; pieceBytes < 120; pieceBytes++) {
      const pieces = check(bytes, pieceBytes);
      expect([pieces.fault, pieces.tip, pieces.crc, pieces.isClosed]).to.deep.equal([null, whole.tip, whole.crc, true]);
    }
  });

  it('knows every flipped bit of a closed segment', () => {
    const { bytes } = segment();
    const { crc, tip } = check(bytes);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const found = check(flipped, 100);
      const isFound = found.fault !== null || !found.isClosed || !found.hasCleanPadding;
      expect(isFound, `bit ${bit}`).to.equal(true);
      // Behind the filler nothing is stored: what lies there is taken for the zeros that it should be.
      if (!found.hasCleanPadding) expect([found.crc, found.tip]).to.deep.equal([crc, tip]);
    }
  });

  it('names the record and the place of what is wrong', () => {
    const { bytes } = segment();
    bytes[30]! ^= 1;
    const { fault, tip } = check(bytes);
    expect([fault!.position, tip.index]).to.deep.equal([0, 0]);
    bytes[30]! ^= 1;
    bytes[48 + 30]! ^= 1;
    const second = check(bytes);
    expect([second.fault!.position, second.tip.index]).to.deep.equal([48, 1]);
  });

  it('takes neither another chain nor another place', () => {
    const { bytes } = segment();
    const other = new SegmentCheck({ ...EMPTY_TIP, chainCrc: 7 }, 0, SIZE);
    other.feed(bytes);
    expect(other.fault?.reason).to.equal('the chain is broken');
    const elsewhere = new SegmentCheck(EMPTY_TIP, SIZE, 2 * SIZE);
    elsewhere.feed(bytes);
    expect(elsewhere.fault?.reason).to.equal('wrong position');
  });
});
