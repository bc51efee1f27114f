// Small logs for the storage tests: records of chosen sizes, whole-file comparison, and a log on a memory disk.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { writeBlankHeader } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { CommitLog, type CommitLogOptions, verifyRecords } from '../../src/storage/commit_log.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';

export const DIRECTORY = '/group';
export const SEGMENT_BYTES = 4096;
const BATCH_AT = 64;

/** Unsealed command records with bodies of the given sizes; they don't begin with their buffer. */
export function blankBatch(bodySizes: readonly number[], seed = 0): { buffer: Buffer; start: number; end: number } {
  const total = bodySizes.reduce((sum, size) => sum + 48 + size, 0);
  const buffer = Buffer.alloc(BATCH_AT + total);
  let at = BATCH_AT;
  bodySizes.forEach((size, number) => {
    writeBlankHeader(buffer, at, 4, size);
    for (let byte = 0; byte < size; byte++) buffer[at + 48 + byte] = (seed * 31 + number * 7 + byte * 13 + 1) & 0xff;
    at += 48 + size;
  });
  return { buffer, start: BATCH_AT, end: buffer.length };
}

export function openLog(disk: MemoryDisk, options: Partial<CommitLogOptions> = {}): CommitLog {
  return CommitLog.open({
    disk,
    directory: DIRECTORY,
    segmentSizeBytes: SEGMENT_BYTES,
    indexUnitsPerFile: 8,
    ...options,
  });
}

/** Appends as the leader of `ofTerm`. */
export function append(log: CommitLog, bodySizes: readonly number[], ofTerm = 1, seed = 0): void {
  const { buffer, start, end } = blankBatch(bodySizes, seed);
  log.appendBlank(buffer, start, end, term(ofTerm));
}

/** Sends what `to` lacks of `from`, verified on the way. */
export function replicate(from: CommitLog, to: CommitLog, bytesMax = 1_000_000): void {
  while (to.lastIndex < from.lastIndex) {
    const first = logIndex(to.lastIndex + 1);
    const range = from.read(first, from.fit(first, bytesMax).lastIndex);
    const copy = Buffer.from(range.buffer);
    verifyRecords(copy, range.start, range.end, range);
    to.appendSealed(copy, range.start, range.end);
  }
}

/** The bytes of every record held, read back one by one from the log. */
export function recordsOf(log: CommitLog): string[] {
  const records = [];
  for (let index: number = log.firstIndex; index <= log.lastIndex; index++) {
    const { buffer, start, end } = log.read(logIndex(index), logIndex(index));
    records.push(buffer.toString('latin1', start, end));
  }
  return records;
}

/** All files below `directory`, as text, for comparing disks. */
export function contentOf(disk: MemoryDisk, directory: string): Record<string, string> {
  const content: Record<string, string> = {};
  for (const path of disk.files())
    if (path.startsWith(`${directory}/`)) content[path] = disk.bytes(path).toString('latin1');
  return content;
}

/** How many files of `disk` are open, of those opened from now on. */
export function countOpenFiles(disk: MemoryDisk): () => number {
  const opened = new Set<object>();
  const open = disk.open.bind(disk);
  disk.open = (path, options) => {
    const file = open(path, options);
    const close = file.close.bind(file);
    file.close = () => {
      opened.delete(file);
      close();
    };
    opened.add(file);
    return file;
  };
  return () => opened.size;
}

/** The error code that `act` fails with; whatever is not a TLedgerError is thrown on. */
export function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof TLedgerError) return error.code;
    throw error;
  }
  return 'none';
}

/** Checks every lookup of the log against a walk over its records. */
export function expectConsistent(log: CommitLog): void {
  const { base } = log;
  const { runs, baseIndex, baseTerm, lastIndex } = log.shape;
  expect([baseIndex, baseTerm, lastIndex]).to.deep.equal([base.index, base.term, log.lastIndex]);
  expect(log.firstIndex).to.equal(base.index + 1);
  expect([log.chainAt(base.index), log.termAt(base.index)]).to.deep.equal([base.chainCrc, base.term]);
  expect(runs[0]?.firstIndex).to.equal(lastIndex > base.index ? log.firstIndex : undefined);
  let chain = base.chainCrc;
  let end: number = base.end;
  for (let at: number = log.firstIndex; at <= lastIndex; at++) {
    const index = logIndex(at);
    const { buffer, start, end: to, prevChain } = log.read(index, index);
    expect(prevChain).to.equal(chain);
    const verified = verifyRecords(buffer, start, to, log.read(index, index));
    chain = verified.lastChain;
    expect(log.chainAt(index)).to.equal(chain);
    expect(log.termAt(index)).to.equal(verified.lastTerm);
    expect(runs.findLast((run) => run.firstIndex <= at)?.term).to.equal(verified.lastTerm);
    const place = log.locate(index);
    expect(place.sizeBytes).to.equal(to - start);
    expect(place.position).to.be.at.least(end);
    expect(log.readAt(place.position, place.sizeBytes).equals(buffer.subarray(start, to))).to.equal(true);
    end = place.position + place.sizeBytes;
  }
  expect(log.lastChain).to.equal(chain);
  expect(log.endPosition).to.equal(end);
}
