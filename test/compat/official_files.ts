// The official client's own test files, unmodified, from a checkout of apache/rocketmq-clients: the published package does
// not hold them. They import the client's sources beside them: those come from the package, which has the generated
// protocol that a checkout lacks.
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Stage } from './clients.ts';

/** The topics that the files expect (ROCKETMQ §8.1). */
const topics = {
  TopicTestForNormal: 'normal',
  TopicTestForFifo: 'fifo',
  TopicTestForDelay: 'delay',
  TopicTestForTransaction: 'transaction',
} as const;

/**
 * Expects an error text that the published client has put into another one: it fails against every server (ROCKETMQ §8.2).
 * The cases of this folder look at the cause instead.
 */
const STALE_CASE = 'should startup fail when topic not exists';

const root = resolve(import.meta.dirname, '../..');

/** What to run. */
export interface OfficialFiles {
  /** `nodejs` of a checkout. */
  readonly directory: string;
  readonly killEveryMs: number | null;
}

/** Runs all files on a group of their own. @returns whether all passed. */
export async function runOfficialFiles({ directory, killEveryMs }: OfficialFiles): Promise<boolean> {
  const place = mkdtempSync(join(tmpdir(), 'official-files-'));
  const stage = await Stage.start({ killEveryMs });
  try {
    const installed = join(root, 'node_modules/rocketmq-client-nodejs');
    cpSync(join(directory, 'test'), join(place, 'test'), { recursive: true });
    for (const part of ['src', 'proto', 'package.json']) {
      cpSync(join(installed, part), join(place, part), { recursive: true });
    }
    symlinkSync(join(root, 'node_modules'), join(place, 'node_modules'));
    for (const [name, messageType] of Object.entries(topics)) {
      await stage.admin.admin.createTopic(name, { queues: 4, messageType });
    }
    const files = readdirSync(join(place, 'test'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts'))
      .sort();
    let isGood = files.length > 0;
    for (const file of files) isGood = (await runFile(place, join('test', file), stage.endpoint())) && isGood;
    return isGood;
  } finally {
    await stage.stop();
    rmSync(place, { recursive: true, force: true });
  }
}

function runFile(place: string, file: string, endpoints: string): Promise<boolean> {
  console.log(file);
  const isForNodeTest = /from 'node:test'/.test(readFileSync(join(place, file), 'utf8'));
  const mocha = join(root, 'node_modules/mocha/bin/mocha.js');
  const args = isForNodeTest
    ? ['--import', 'tsx', '--test', '--test-force-exit', file]
    : ['--import', 'tsx', mocha, '--timeout', '60000', '--exit', '--fgrep', STALE_CASE, '--invert', file];
  const env = { ...process.env, ROCKETMQ_NODEJS_CLIENT_ENDPOINTS: endpoints, HOME: place };
  const child = spawn(process.execPath, args, { cwd: place, env, stdio: 'inherit' });
  return new Promise((done) => child.on('exit', (code) => done(code === 0)));
}
