// `npm run test:compat -- [--kill-every 10s] [--minutes N]`: the cases of the official client, once, or again and again for
// so long, on three real nodes, of which the leader is killed all the time. With ROCKETMQ_CLIENT_TESTS=<checkout of
// rocketmq-clients>/nodejs the client's own test files are run instead, as they are. Exit code 0 only if all pass.
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { runOfficialFiles } from './official_files.ts';

const { values } = parseArgs({
  options: { 'kill-every': { type: 'string' }, minutes: { type: 'string', default: '0' } },
});
const killEveryMs = values['kill-every'] === undefined ? null : secondsOf(values['kill-every']) * 1_000;
const untilMs = Date.now() + Number(values.minutes) * 60_000;
const directory = process.env.ROCKETMQ_CLIENT_TESTS;

let rounds = 0;
let failed = 0;
do {
  const isGood = directory === undefined ? await runCases() : await runOfficialFiles({ directory, killEveryMs });
  rounds++;
  if (!isGood) failed++;
} while (Date.now() < untilMs);
console.log(`${rounds} rounds, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

function secondsOf(text: string): number {
  const match = /^(\d+)s?$/.exec(text);
  if (match === null) throw new Error(`--kill-every is seconds, e.g. 10s, not ${text}`);
  return Number(match[1]);
}

function runCases(): Promise<boolean> {
  const env = killEveryMs === null ? process.env : { ...process.env, COMPAT_KILL_EVERY_MS: String(killEveryMs) };
  const args = ['mocha', '--reporter', 'spec', 'test/compat/official_client.test.ts'];
  const child = spawn('npx', args, { env, stdio: 'inherit' });
  return new Promise((resolve) => child.on('exit', (code) => resolve(code === 0)));
}
