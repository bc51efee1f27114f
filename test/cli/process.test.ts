// The real program as a child process: exit codes, streams, and readers that stop reading.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';
import { FakeGroup } from '../client/fake_server.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function tledger(
  argv: readonly string[],
  options: { stdin?: string; env?: NodeJS.ProcessEnv; stopAfterBytes?: number } = {},
) {
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...argv], {
    env: { ...process.env, ...options.env },
  });
  return new Promise<Ended>((resolve) => {
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
      if (stdout.length >= (options.stopAfterBytes ?? Number.POSITIVE_INFINITY)) child.stdout.destroy();
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
    child.stdin.end(options.stdin ?? '');
  });
}

describe('cli: the program', function () {
  this.timeout(180_000);
  let group: FakeGroup;

  before(async () => {
    group = await FakeGroup.start(1);
  });
  after(() => group.stop());

  it('ends with 3 when nothing can be reached, and says what', async () => {
    const ended = await tledger(['cluster', 'status', '--endpoints', '127.0.0.1:1', '--timeout', '1000']);
    expect(ended).to.deep.equal({
      exitCode: 3,
      stdout: '',
      stderr: 'tledger: none of 127.0.0.1:1 can be reached (127.0.0.1:1: connection refused) (UNREACHABLE)\n',
    });
  });

  it('says with 2 what is wrong with settings, in JSON to those who asked for it', async () => {
    const ended = await tledger(['node', 'start', '--node-id', '../n0', '--format', 'json']);
    expect([ended.exitCode, ended.stdout]).to.deep.equal([2, '']);
    const { code, message } = JSON.parse(ended.stderr).error;
    expect(code).to.equal('INVALID_CONFIG');
    expect(message).to.match(/^Configuration: flag --node-id: /);
  });

  it('takes endpoints from TLEDGER_ENDPOINTS, carries stdin in and one document out', async () => {
    const env = { TLEDGER_ENDPOINTS: group.endpoints.join(',') };
    const lines = Array.from({ length: 5_000 }, (_, at) => `line ${at}\n`).join('');
    const ended = await tledger(['produce', '--topic', 't', '--queue', '0', '--format', 'json'], { stdin: lines, env });
    expect(ended.stderr).to.match(/(^|\n)5,000 acknowledged, .*\n$/);
    expect(ended.exitCode).to.equal(0);
    expect(JSON.parse(ended.stdout).acknowledged).to.equal(5_000);
    expect(group.bodies('t', 0)).to.have.length(5_000);
  });

  it('ends quietly when its reader has had enough', async () => {
    for (let at = 0; at < 300; at++) group.put('t', 1, 'x'.repeat(10_000));
    const argv = ['consume', '--topic', 't', '--queue', '1', '--endpoints', group.endpoints.join(',')];
    const ended = await tledger(argv, { stopAfterBytes: 10_000 });
    expect(ended.stderr).to.equal('');
    expect(ended.exitCode).to.equal(0);
  });
});
