// Frames between members: what one writes the other reads, and nothing else is taken for a frame.
import { expect } from 'chai';
import fc from 'fast-check';
import { crc32 } from '../../src/base/crc.ts';
import {
  type AppendRequest,
  type AppendResponse,
  logIndex,
  type SnapshotRequest,
  type SnapshotResponse,
  term,
} from '../../src/raft/types.ts';
import type { Gathered } from '../../src/wire/gathered.ts';
import {
  decodeRequestFrame,
  decodeResponseFrame,
  encodeAppendFrame,
  encodeResponseFrame,
  encodeSnapshotFrame,
  FRAME_HEADER_BYTES,
} from '../../src/wire/peer_frames.ts';

const ends = { from: 'n0', to: 'n1' };
const append: AppendRequest = {
  ...{ type: 'append', ...ends, term: term(7), prevIndex: logIndex(40), prevTerm: term(6), lastIndex: logIndex(43) },
  ...{ runs: [], memberships: [], commit: logIndex(39), round: 12 },
};
const snapshot: SnapshotRequest = {
  ...{ type: 'snapshot', ...ends, term: term(7), index: logIndex(2 ** 52), indexTerm: term(5), offset: 2 ** 40 },
  ...{ round: 3, commit: logIndex(99) },
};
const accepted: AppendResponse = {
  ...{ type: 'append-response', ...ends, term: term(7), match: logIndex(43), round: 12, reject: null },
};
const rejected: AppendResponse = {
  ...accepted,
  reject: { prevIndex: logIndex(40), hintIndex: logIndex(30), hintTerm: term(2) },
};
const stored: SnapshotResponse = {
  ...{ type: 'snapshot-response', ...ends, term: term(7), index: logIndex(50), offset: 4096, round: 3 },
};

const records = Buffer.from('records as they lie on disk');
/** As grpc-js sends it, behind a header of its own. */
const joined = (frame: Gathered): Buffer => {
  const bytes = Buffer.alloc(5 + frame.length);
  expect(frame.copy(bytes, 5)).to.equal(frame.length);
  return bytes.subarray(5);
};
const appendFrame = (): Buffer => {
  const buffer = Buffer.concat([Buffer.alloc(3, 0xee), records, Buffer.alloc(1, 0xee)]);
  return joined(encodeAppendFrame(append, { buffer, start: 3, end: buffer.length - 1, prevChain: 0xfeedbeef }));
};
const piece = Buffer.from('..a piece of a snapshot..');
const pieceFrame = (start: number, end: number): Buffer =>
  joined(encodeSnapshotFrame(snapshot, { buffer: piece, start, end }));
const snapshotFrame = (): Buffer => pieceFrame(2, piece.length - 2);

const codeOf = (task: () => unknown): string => {
  try {
    task();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return 'none';
};

/** Changes bytes of a header and closes it again with the right checksum. */
const resealed = (frame: Buffer, change: (frame: Buffer) => void): Buffer => {
  const copy = Buffer.from(frame);
  change(copy);
  copy.writeUInt32BE(crc32(copy, 0, 60), 60);
  return copy;
};

describe('wire: peer frames', () => {
  it('carry an append with its records, which are not copied when they arrive', () => {
    const frame = appendFrame();
    const decoded = decodeRequestFrame(frame, ends);
    expect(decoded.message).to.deep.equal(append);
    expect(decoded.prevChain).to.equal(0xfeedbeef);
    expect(decoded.buffer.subarray(decoded.start, decoded.end)).to.deep.equal(records);
    expect(decoded.buffer).to.equal(frame);
  });

  it('carry an append without records', () => {
    const bytes = joined(encodeAppendFrame(append, { buffer: Buffer.alloc(0), start: 0, end: 0, prevChain: 5 }));
    expect(bytes).to.have.length(FRAME_HEADER_BYTES);
    const { message, prevChain, start, end } = decodeRequestFrame(bytes, ends);
    expect({ message, prevChain, size: end - start }).to.deep.equal({ message: append, prevChain: 5, size: 0 });
  });

  it('carry a piece of a snapshot, and leave what lies around it alone', () => {
    const decoded = decodeRequestFrame(snapshotFrame(), ends);
    expect(decoded.message).to.deep.equal(snapshot);
    expect(decoded.buffer.subarray(decoded.start, decoded.end).toString()).to.equal('a piece of a snapshot');
    expect(piece.toString()).to.equal('..a piece of a snapshot..');
    const empty = decodeRequestFrame(pieceFrame(0, 0), ends);
    expect(empty.end - empty.start).to.equal(0);
  });

  for (const [what, answer] of Object.entries({ accepted, rejected, stored })) {
    it(`carry an answer: ${what}`, () => {
      expect(decodeResponseFrame(encodeResponseFrame(answer), ends)).to.deep.equal(answer);
    });
  }

  const frames: readonly (readonly [string, Buffer, (frame: Buffer) => unknown])[] = [
    ['append', appendFrame(), (frame) => decodeRequestFrame(frame, ends)],
    ['snapshot', snapshotFrame(), (frame) => decodeRequestFrame(frame, ends)],
    ['append-response', encodeResponseFrame(rejected), (frame) => decodeResponseFrame(frame, ends)],
    ['snapshot-response', encodeResponseFrame(stored), (frame) => decodeResponseFrame(frame, ends)],
  ];
  for (const [what, frame, decode] of frames) {
    describe(`of type ${what}`, () => {
      it('are refused when they are shorter than a header', () => {
        for (let length = 0; length < FRAME_HEADER_BYTES; length++) {
          expect(
            codeOf(() => decode(frame.subarray(0, length))),
            `${length} bytes`,
          ).to.equal('INVALID_ARGUMENT');
        }
      });

      it('are refused when any bit of the header is another one', () => {
        for (let bit = 0; bit < 8 * FRAME_HEADER_BYTES; bit++) {
          const flipped = Buffer.from(frame);
          flipped[bit >> 3]! ^= 1 << (bit & 7);
          expect(
            codeOf(() => decode(flipped)),
            `bit ${bit}`,
          ).to.equal('INVALID_ARGUMENT');
        }
      });

      it('are refused in another version, or as a type that is none', () => {
        for (const type of [0, 5, 255]) {
          expect(codeOf(() => decode(resealed(frame, (copy) => copy.writeUInt8(type, 0))))).to.equal(
            'INVALID_ARGUMENT',
          );
        }
        expect(codeOf(() => decode(resealed(frame, (copy) => copy.writeUInt8(2, 1))))).to.equal('INVALID_ARGUMENT');
      });

      it('are refused with a number beyond 2^53, although the checksum is right', () => {
        for (const at of [8, 16, 24, 32, 40, 48]) {
          const huge = resealed(frame, (copy) => copy.writeUInt32BE(0x0020_0000, at));
          expect(
            codeOf(() => decode(huge)),
            `at ${at}`,
          ).to.equal('INVALID_ARGUMENT');
        }
      });
    });
  }

  it('are refused in the wrong direction', () => {
    for (const answer of [accepted, stored]) {
      expect(codeOf(() => decodeRequestFrame(encodeResponseFrame(answer), ends))).to.equal('INVALID_ARGUMENT');
    }
    for (const frame of [appendFrame(), snapshotFrame()]) {
      expect(codeOf(() => decodeResponseFrame(frame, ends))).to.equal('INVALID_ARGUMENT');
    }
  });

  it('are refused when a piece of a snapshot is damaged, cut off or too long', () => {
    const frame = snapshotFrame();
    for (let at = FRAME_HEADER_BYTES; at < frame.length; at++) {
      const flipped = Buffer.from(frame);
      flipped[at]! ^= 0x80;
      expect(
        codeOf(() => decodeRequestFrame(flipped, ends)),
        `byte ${at}`,
      ).to.equal('INVALID_ARGUMENT');
      expect(
        codeOf(() => decodeRequestFrame(frame.subarray(0, at), ends)),
        `length ${at}`,
      ).to.equal('INVALID_ARGUMENT');
    }
    const longer = Buffer.concat([frame, Buffer.alloc(1)]);
    expect(codeOf(() => decodeRequestFrame(longer, ends))).to.equal('INVALID_ARGUMENT');
  });

  it('are refused when something follows an answer', () => {
    for (const answer of [accepted, stored]) {
      const longer = Buffer.concat([encodeResponseFrame(answer), Buffer.alloc(1)]);
      expect(codeOf(() => decodeResponseFrame(longer, ends))).to.equal('INVALID_ARGUMENT');
    }
  });

  it('are never taken for anything when they are random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const frame = Buffer.from(bytes);
        expect(codeOf(() => decodeRequestFrame(frame, ends))).to.equal('INVALID_ARGUMENT');
        expect(codeOf(() => decodeResponseFrame(frame, ends))).to.equal('INVALID_ARGUMENT');
      }),
    );
  });
});
