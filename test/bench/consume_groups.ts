// How fast one consumer group takes messages of one topic and acknowledges them: `npm run bench:groups -- [--seconds 5]
// [--flush sync|async] [--queues 4] [--size 256]`. One node in this process, on a real disk: what is measured is the lane
// (decide, write, apply, answer), not the network. Consumers pop 32 at a time and acknowledge all of them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { groupDefaults } from '../../src/broker/consuming/groups.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import type { PoppedMessage } from '../../src/replica/consuming/types.ts';
import { type OpenGroup, openGroup } from '../../src/replica/open_group.ts';
import { Replica } from '../../src/replica/replica.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { RealDisk } from '../../src/storage/real_disk.ts';
import { pause } from '../chaos/pause.ts';

const MIB = 1024 * 1024;
const POP_COUNT = 32;
const BATCH_COUNT = 200;
const soon = (): number => performance.now() + 60_000;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    flush: { type: 'string', default: 'sync' },
    queues: { type: 'string', default: '4' },
    size: { type: 'string', default: '256' },
    messages: { type: 'string', default: '400000' },
  },
});
const queues = Number(values.queues);
const measureMs = Number(values.seconds) * 1_000;

interface Figures {
  readonly consumers: number;
  readonly groupKind: string;
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const directory = mkdtempSync(join(tmpdir(), 'tledger-groups-'));
const [replica, open] = await start();
try {
  await fill();
  for (const isFifo of [false, true]) {
    for (const consumers of [1, 16]) {
      const { groupKind, messagesPerSecond, p50Ms, p99Ms } = await measure(consumers, isFifo);
      console.log(
        `${groupKind}, ${String(consumers).padStart(2)} consumers: ${messagesPerSecond} messages/s; pop p50 ${p50Ms} ms, p99 ${p99Ms} ms`,
      );
    }
  }
} finally {
  await replica.stop(0);
  await open.close();
  rmSync(directory, { recursive: true });
}

async function start(): Promise<[Replica, OpenGroup]> {
  const onWarning = (message: string): void => console.error(message);
  const opened = await openGroup({
    ...{ disk: new RealDisk(), directory, onWarning, segmentSizeBytes: 256 * MIB },
    store: new MemoryStateStore(new MemoryStateMedium()),
  });
  const made = new Replica({
    ...opened,
    raft: {
      ...{ id: 'n0', preferredLeaders: [], leaseReads: false, heartbeatIntervalMs: 100, idleHeartbeatIntervalMs: 100 },
      ...{ electionTimeoutMsMin: 150, electionTimeoutMsMax: 300 },
      ...{ appendBytesMax: MIB, inflightCountMax: 256, inflightBytesMax: 16 * MIB },
    },
    membership: bootstrap({ n0: { peer: 'n0:1', client: 'n0:2' } }),
    limits: {
      ...{ countMax: 100_000, bytesMax: 128 * MIB, batchBytesMax: MIB },
      ...{ unflushedBytesMax: MIB, unappliedBytesMax: 32 * MIB },
    },
    flush: values.flush === 'async' ? 'async' : 'sync',
    ...{ checkpointIntervalMs: 1_000, retentionBytes: 0, diskStallMs: 3_000 },
    ...{ clock: systemClock, random: new SeededRandom(1), onWarning, onFailure: onWarning as never },
    transport: { send: () => {}, setMembers: () => {} },
  });
  made.start();
  while (!made.isLeader) await pause(20);
  await made.createTopic('T', queues, soon());
  return [made, opened];
}

async function fill(): Promise<void> {
  const body = Buffer.alloc(Number(values.size), 'x');
  const batches = Math.ceil(Number(values.messages) / BATCH_COUNT);
  let next = 0;
  const append = (): Promise<void> => {
    if (next === batches) return Promise.resolve();
    const queueId = next++ % queues;
    const one = encodeMessageRecord({ topic: 'T', queueId, body, tag: 'a', bornAtMs: 1 });
    const records = Buffer.concat(Array.from({ length: BATCH_COUNT }, () => one));
    return new Promise<void>((resolve, reject) => {
      const request = { topic: 'T', queueId, producerId: '', sequence: 0, records };
      replica.append(request, soon(), (error) => (error === null ? resolve() : reject(error)));
    }).then(append);
  };
  await Promise.all(Array.from({ length: 16 }, append));
}

async function measure(consumers: number, isFifo: boolean): Promise<Figures> {
  const groupKind = isFifo ? 'in order' : 'in any order';
  const name = `${isFifo ? 'fifo' : 'any'}${consumers}`;
  await replica.consuming.putGroup({ name, ...groupDefaults, isFifo, createdAtMs: 1 }, soon());
  const latencies: number[] = [];
  let count = 0;
  const begunMs = performance.now();
  const consume = async (): Promise<void> => {
    while (performance.now() - begunMs < measureMs) {
      const atMs = performance.now();
      const messages = await pop(name);
      latencies.push(performance.now() - atMs);
      if (messages.length === 0) return;
      await acknowledge(name, messages);
      count += messages.length;
    }
  };
  await Promise.all(Array.from({ length: consumers }, consume));
  const passedMs = performance.now() - begunMs;
  latencies.sort((a, b) => a - b);
  const percentile = (share: number): number =>
    Number((latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(2));
  const messagesPerSecond = Math.round((count / passedMs) * 1_000);
  return { consumers, groupKind, messagesPerSecond, p50Ms: percentile(0.5), p99Ms: percentile(0.99) };
}

function pop(group: string): Promise<readonly PoppedMessage[]> {
  const request = {
    ...{ group, topic: 'T', filter: { type: 'tag', expression: '*' } as const, countMax: POP_COUNT },
    ...{ bytesMax: 4 * MIB, invisibleMs: 60_000, attemptId: '', waitMs: 300 },
  };
  return new Promise((resolve, reject) => {
    replica.consuming.pop(request, soon(), (error, messages) =>
      messages === null ? reject(error) : resolve(messages),
    );
  });
}

function acknowledge(group: string, messages: readonly PoppedMessage[]): Promise<void> {
  const verdicts = messages.map((receipt) => ({ receipt, verdict: { kind: 'acknowledge' } as const }));
  return new Promise((resolve, reject) => {
    replica.consuming.settle({ group, topic: 'T', verdicts }, soon(), (error, settled) => {
      if (settled === null) reject(error);
      else if (settled.every(({ isDone }) => isDone)) resolve();
      else reject(new Error('a message that was just handed out cannot be acknowledged'));
    });
  });
}
