// The comparison of benches as a user runs it, as far as it goes without other systems.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const program = fileURLToPath(new URL('../bench/peers/main.ts', import.meta.url));

async function peers(...args: string[]): Promise<{ exitCode: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ['--import=tsx', program, ...args]);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { exitCode, out, err };
}

describe('bench:peers', function () {
  this.timeout(300_000);
  const directory = mkdtempSync(join(tmpdir(), 'tledger-peers-test-'));
  after(() => rmSync(directory, { recursive: true }));

  it('measures TLedger beside a bare server and alone, prints its report and writes it', async () => {
    const file = join(directory, 'peers.json');
    const common = ['--peers', '', '--prototype', '', '--rounds', '1', '--seconds', '1'];
    const rows = ['--only', 'unary-1,consume,open-frames'];
    const { exitCode, out, err } = await peers(...common, ...rows, '--report', file, '--json');
    // A machine that has other things to do misses goals: only that it ran counts here.
    expect(exitCode, err).to.be.oneOf([0, 1]);
    const report = JSON.parse(out);
    expect(JSON.parse(readFileSync(file, 'utf8'))).to.deep.equal(report);
    const measured = report.middles.map((one: { shape: string; system: string }) => `${one.shape} ${one.system}`);
    expect(measured).to.deep.equal([
      ...['unary-1 TLedger', 'unary-1 bare gRPC server'],
      ...['peak-frames TLedger', 'open-frames TLedger', 'consume TLedger'],
    ]);
    expect(report.systems).to.deep.equal(['TLedger', 'bare gRPC server']);
    for (const { messagesPerSecond, shape } of report.middles) expect(messagesPerSecond, shape).to.be.greaterThan(0);
    const processes = report.footprints.map(
      ({ memoryMegabytes }: { memoryMegabytes: number[] }) => memoryMegabytes.length,
    );
    expect(processes).to.deep.equal([3, 1]);
    expect(report.goals.map(({ what }: { what: string }) => what)).to.include.members([
      ...['unary-1: p50', 'open-frames: p99', 'consume', 'most memory of node 2', 'requests that failed'],
    ]);
    expect(err).to.match(/alone, round 1 of 1, \d+ min left: consume +TLedger/);
  });

  it('refuses a row that there is not', async () => {
    const { exitCode, err } = await peers('--only', 'frames-7');
    expect(exitCode).to.equal(1);
    expect(err).to.include('--only frames-7: there are singles-1, singles-128');
  });
});
