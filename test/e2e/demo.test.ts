// The demonstration that the README shows, small: the real command, its real verdict.
import { execFile, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { WorkingTime } from '../chaos/working_time.ts';

const tsx = createRequire(import.meta.url).resolve('tsx');
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

describe('tledger demo', function () {
  this.timeout(240_000);

  it('kills leaders under load and finds nothing lost, doubled or out of order', async () => {
    const args = ['--import', tsx, main, 'demo', '--messages', '6000', '--kills', '2', '--format', 'json'];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const verdict = JSON.parse(stdout) as Record<string, unknown> & { byteIdentical: boolean; failoverGapMs: number[] };
    expect(verdict).to.include({ acknowledged: 6_000, read: 6_000, lost: 0, duplicated: 0, outOfOrder: 0 });
    expect(verdict.byteIdentical).to.equal(true);
    expect(verdict.failoverGapMs).to.have.length(2);
  });

  it('ends soon and quietly when it is interrupted', async () => {
    const child = spawn(process.execPath, ['--import', tsx, main, 'demo', '--messages', '2000000']);
    let said = '';
    let time: WorkingTime | undefined;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        said += chunk;
        if (time !== undefined || !said.includes('3 nodes run')) return;
        time = new WorkingTime();
        setTimeout(() => child.kill('SIGINT'), 500);
      });
    }
    const exitCode = await new Promise((resolve) => child.on('close', resolve));
    expect(exitCode).to.equal(130);
    expect(said).not.to.include('tledger:');
    expect(time!.end()).to.be.below(20_000);
  });
});
