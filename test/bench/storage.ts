// How fast the log is, without network and mostly without flushing: `tsx test/bench/storage.ts`. Not part of the tests.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBlankHeader } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { CommitLog, verifyRecords } from '../../src/storage/commit_log.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';

const BATCH = 256;
const BODY_BYTES = 1024;
const BATCHES = 1000;

const template = Buffer.alloc(BATCH * (48 + BODY_BYTES), 7);
for (let number = 0; number < BATCH; number++) {
  writeBlankHeader(template, number * (48 + BODY_BYTES), 4, BODY_BYTES);
}

const root = mkdtempSync(join(tmpdir(), 'tledger-bench-'));
const options = { disk: new RealDisk(), directory: `${root}/group`, segmentSizeBytes: 1024 ** 3 };

function report(what: string, ms: number, records: number): void {
  const bytes = records * (48 + BODY_BYTES);
  const line = `${((ms * 1000) / records).toFixed(2)} us/record  ${(bytes / 1048.576 / ms).toFixed(0)} MiB/s`;
  process.stdout.write(`${what.padEnd(34)} ${line}\n`);
}

async function main(): Promise<void> {
  let log = CommitLog.open(options);
  let spent = 0;
  for (let number = 0; number < BATCHES; number++) {
    const buffer = Buffer.from(template);
    const began = performance.now();
    log.appendBlank(buffer, 0, buffer.length, term(1));
    spent += performance.now() - began;
    if (number % 50 === 49) await log.flush();
  }
  report('appendBlank, without flush', spent, BATCHES * BATCH);

  const { buffer, start, end, ...previous } = log.read(logIndex(log.lastIndex - BATCH + 1), log.lastIndex);
  let began = performance.now();
  for (let round = 0; round < 500; round++) verifyRecords(buffer, start, end, previous);
  report('verifyRecords', performance.now() - began, 500 * BATCH);

  began = performance.now();
  for (let first = 1; first < 200 * BATCH; first += BATCH) log.read(logIndex(first), logIndex(first + BATCH - 1));
  report('read from the file, verified', performance.now() - began, 200 * BATCH);

  began = performance.now();
  for (let round = 0; round < 20; round++) {
    const next = Buffer.from(template);
    log.appendBlank(next, 0, next.length, term(1));
    await log.flush();
  }
  report('appendBlank and flush, one by one', performance.now() - began, 20 * BATCH);

  const records = log.lastIndex;
  log.close();
  began = performance.now();
  log = CommitLog.open(options);
  process.stdout.write(`open after a clean end              ${(performance.now() - began).toFixed(1)} ms\n`);
  log.close();
  rmSync(`${options.directory}/index`, { recursive: true });
  began = performance.now();
  log = CommitLog.open(options);
  report('open without a log index (scan)', performance.now() - began, records);
  log.close();
}

try {
  await main();
} finally {
  rmSync(root, { recursive: true, force: true });
}
