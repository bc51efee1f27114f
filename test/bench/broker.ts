// What admitting and applying cost, in microseconds of CPU a record of 1 KiB. Run by hand: `npx tsx test/bench/broker.ts`.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from '../../src/base/crc.ts';
import { Broker } from '../../src/broker/broker.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { blankRecord, physicalOffset, recordMagic, sealRecord, sizeAt } from '../../src/format/record.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { EMPTY_TIP } from '../../src/storage/log_tip.ts';
import { MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { SnapshotStore } from '../../src/storage/snapshot_store.ts';

/** Batches admitted, then applied, between two looks at the clock. */
const BATCHES_AT_ONCE = 40;
const RECORDS = 60_000;
const TOPIC = 'bench-topic';

interface Shape {
  readonly name: string;
  readonly batchCount: number;
  readonly tag: string | undefined;
  readonly properties: Record<string, string>;
  /** Keys of each message; different in every message of a frame. */
  readonly keys?: number;
}

const shapes: readonly Shape[] = [
  { name: 'frames of 256, no properties', batchCount: 256, tag: undefined, properties: {} },
  {
    name: 'frames of 256, tag and 2 properties',
    batchCount: 256,
    tag: 'TagA',
    properties: { region: 'eu', user: '4711' },
  },
  { name: 'frames of 256, 1 key', batchCount: 256, tag: undefined, properties: {}, keys: 1 },
  { name: 'frames of 256, tag, 3 keys', batchCount: 256, tag: 'TagA', properties: {}, keys: 3 },
  { name: 'single records', batchCount: 1, tag: undefined, properties: {} },
  { name: 'single records, 1 key', batchCount: 1, tag: undefined, properties: {}, keys: 1 },
];

async function run(shape: Shape, directory: string, hasIndex: boolean): Promise<void> {
  const store = new MemoryStateStore();
  const readLog = () => Buffer.alloc(0);
  const disk = new RealDisk();
  const snapshots = SnapshotStore.open({ disk, directory });
  const log = { readLog, base: EMPTY_TIP, segmentSizeBytes: 1 << 30 };
  const keyIndex = hasIndex
    ? { directory: `${directory}/keyindex`, endOf: () => physicalOffset(0), recordAt: () => null }
    : undefined;
  const broker = await Broker.open({ disk, directory, store, snapshots, keyIndex, ...log });
  broker.startLeading();
  let index = 1;
  let position = 0;
  let chain = 0;
  const seal = (records: Buffer): void => {
    for (let at = 0; at < records.length; at += sizeAt(records, at)) {
      const place = { index: logIndex(index++), term: term(1), position: physicalOffset(position), prevChain: chain };
      chain = sealRecord(records, at, place);
      position += sizeAt(records, at);
    }
  };
  const proposal = broker.proposeTopic(TOPIC, 4, 1);
  if (proposal.kind === 'exists') throw new Error('the topic is new');
  const command = blankRecord(recordMagic.command, proposal.body);
  seal(command);
  broker.apply(command, 0, command.length);

  const body = Buffer.alloc(1_024, 'x');
  const message = { topic: TOPIC, queueId: 0, body, tag: shape.tag, properties: shape.properties, bornAtMs: 1 };
  const keysOf = (number: number) => Array.from({ length: shape.keys ?? 0 }, (_, key) => `order-${number}-${key}`);
  const records = Buffer.concat(
    Array.from({ length: shape.batchCount }, (_, number) => encodeMessageRecord({ ...message, keys: keysOf(number) })),
  );
  const batches = Array.from({ length: BATCHES_AT_ONCE }, () => Buffer.from(records));
  const rounds = Math.ceil(RECORDS / shape.batchCount / BATCHES_AT_ONCE);
  let sequence = 1;
  let admitMicros = 0;
  let applyMicros = 0;
  for (let round = -rounds; round < rounds; round++) {
    let next = index;
    const before = cpuMicros();
    for (const batch of batches) {
      const request = { topic: TOPIC, queueId: 0, producerId: 'a0a0a0a0a0a0a0a1', sequence, records: batch };
      broker.admit(request, { firstIndex: logIndex(next), nowMs: 1 });
      next += shape.batchCount;
      sequence += shape.batchCount;
    }
    const admitted = cpuMicros();
    for (const batch of batches) seal(batch);
    const sealed = cpuMicros();
    for (const batch of batches) broker.apply(batch, 0, batch.length);
    if (round < 0) continue;
    admitMicros += admitted - before;
    applyMicros += cpuMicros() - sealed;
  }
  const count = rounds * BATCHES_AT_ONCE * shape.batchCount;
  admitMicros /= count;
  applyMicros /= count;
  const crcStart = cpuMicros();
  for (let at = 0; at < 100_000; at++) crc32(body);
  const crcMicros = (cpuMicros() - crcStart) / 100_000;
  const figures = `admit ${admitMicros.toFixed(3)} (without body CRC ${(admitMicros - crcMicros).toFixed(3)})`;
  process.stdout.write(
    `${shape.name}, index ${hasIndex ? 'on' : 'off'}: ${figures}, apply ${applyMicros.toFixed(3)} µs a record\n`,
  );
  await broker.close();
}

/** CPU time of this process, so that what else the machine does counts less. */
function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

const directory = mkdtempSync(join(tmpdir(), 'tledger-bench-'));
try {
  for (const [number, shape] of shapes.entries()) {
    for (const hasIndex of [false, true]) await run(shape, join(directory, `${number}-${hasIndex}`), hasIndex);
  }
} finally {
  rmSync(directory, { recursive: true });
}
