// How fast a store is carried over into a local group of three, and in how much memory: npm run bench:import
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { programArguments } from '../../src/server/child_node.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { makeStore, someMessages } from '../import/fixture.ts';
import { memoryBytesOf } from './processes.ts';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '200000' },
    bytes: { type: 'string', default: '1024' },
    queues: { type: 'string', default: '8' },
    framing: { type: 'string', default: 'rocketmq' },
  },
});
const count = Number(values.messages);
const filler = 'x'.repeat(Number(values.bytes));
const framing = values.framing === 'dledger' ? 'dledger' : 'rocketmq';

/** Runs the command; resolves with its report and the most memory it held. */
async function tledger(
  directory: string,
  ...argv: string[]
): Promise<{ report: Record<string, number>; peakBytes: number }> {
  const child = spawn(process.execPath, [...programArguments(), ...argv, '--format', 'json', '--no-progress'], {
    cwd: directory,
  });
  let stdout = '';
  let peakBytes = 0;
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.pipe(process.stderr);
  const timer = setInterval(() => {
    try {
      peakBytes = Math.max(peakBytes, memoryBytesOf(child.pid!, 'VmHWM'));
    } catch {
      // It has ended, or there is no such list here.
    }
  }, 50);
  await new Promise((resolve) => child.once('close', resolve));
  clearInterval(timer);
  return { report: JSON.parse(stdout), peakBytes };
}

const directory = mkdtempSync(join(tmpdir(), 'tledger-bench-'));
const store = makeStore(
  someMessages(count, (number) => ({
    topic: 'orders',
    queueId: number % Number(values.queues),
    body: Buffer.from(`${number} ${filler}`),
  })),
  { fileBytes: 1 << 28, framing },
);
const cluster = await LocalCluster.start();
try {
  await cluster.waitForLeader();
  const startedAtMs = performance.now();
  const dry = await tledger(directory, 'import', store.directory, '--dry-run');
  const drySeconds = (performance.now() - startedAtMs) / 1_000;
  const done = await tledger(directory, 'import', store.directory, '--endpoints', cluster.endpoints.join(','));
  const again = await tledger(directory, 'import', store.directory, '--endpoints', cluster.endpoints.join(','));
  const { appended, seconds, messagesPerSecond } = done.report;
  const document = {
    ...{
      messages: count,
      bytes: filler.length,
      queues: Number(values.queues),
      framing,
      appended,
      seconds,
      messagesPerSecond,
    },
    peakMiB: Math.round(done.peakBytes / 1_048_576),
    dryRun: {
      seconds: drySeconds,
      messagesPerSecond: Math.round(count / drySeconds),
      peakMiB: Math.round(dry.peakBytes / 1_048_576),
    },
    again: { seconds: again.report.seconds, alreadyThere: again.report.alreadyThere },
  };
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
} finally {
  await cluster.stop();
  store.remove();
  rmSync(directory, { recursive: true });
}
