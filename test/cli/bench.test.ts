// tledger bench on real nodes, briefly: what it prints, what it leaves in the topic, how it ends.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { run } from './harness.ts';

describe('cli: bench', () => {
  let cluster: LocalCluster;
  let endpoints: string[];
  const directory = mkdtempSync(join(tmpdir(), 'tledger-bench-'));

  before(async function () {
    this.timeout(180_000);
    cluster = await LocalCluster.start();
    await cluster.waitForLeader();
    endpoints = ['--endpoints', cluster.endpoints.join(',')];
  });
  after(async () => {
    await cluster?.stop();
    rmSync(directory, { recursive: true });
  });

  const bench = (line: string, options = {}) => {
    const brief = ['--duration', '300ms', '--warm-up', '50ms', '--no-progress'];
    return run(['bench', ...line.split(' '), ...brief, ...endpoints], options);
  };
  const json = async (line: string) => {
    const { exitCode, stdout, stderr } = await bench(`${line} --format json`);
    expect(stderr, line).to.equal('');
    expect(exitCode, line).to.equal(0);
    return JSON.parse(stdout.toString());
  };

  it('measures every kind', async () => {
    for (const line of [
      'append --in-flight 8 --connections 2',
      'append --batch 16 --flush sync',
      'unary --in-flight 4',
    ]) {
      const report = await json(`${line} --size 100`);
      expect(report.messages, line).to.be.greaterThan(0);
      expect(report.latencyMs.p99, line).to.be.at.least(report.latencyMs.p50);
      expect(report.failed, line).to.deep.equal({});
    }
    const read = await json('consume');
    expect(read.messages).to.be.greaterThan(0);
    expect(read.megabytesPerSecond / read.messagesPerSecond).to.be.closeTo(100 / 1e6, 2e-6);
    const ends = await json('end-to-end --rate 200');
    expect(ends.deliveryMs.count).to.be.greaterThan(20);
    expect(ends.latencyMs.count).to.be.closeTo(60, 10);
    const { gapsMs } = await json('failover --transfers 1');
    expect(gapsMs).to.have.length(1);
    expect(gapsMs[0]).to.be.greaterThan(0);
  }).timeout(180_000);

  it('says what it measured in words, and draws it', async () => {
    const plot = join(directory, 'plot.svg');
    const { stdout } = await bench(`append --rate 200 --topic drawn --queues 2 --duration 1s --plot ${plot}`);
    expect(stdout.toString()).to.match(
      /^append: rate 200, size 1024, batch 1, flush as the group, topic drawn, queues 2/,
    );
    expect(stdout.toString()).to.match(/ {2}acknowledged {2}p50 [0-9.]+ ms .* max [0-9.]+ ms/);
    expect(readFileSync(plot, 'utf8')).to.match(/^<svg [\s\S]*messages a second[\s\S]*<\/svg>\n$/);
  });

  it('refuses at once what cannot be', async () => {
    for (const [line, exitCode, says] of [
      ['append --rate 5 --in-flight 5', 2, /cannot be used with/],
      ['append --size 1MiB --batch 100', 2, /--batch must be at most 4 for messages of 1048576 bytes/],
      ['append --duration soon', 2, /A time of 100 ms to 24h is expected/],
      ['end-to-end --size 15', 2, /--size must be at least 16/],
      ['consume --topic nowhere', 1, /TOPIC_NOT_FOUND/],
      ['append --plot /nowhere/x.svg', 1, /--plot \/nowhere\/x.svg: ENOENT/],
    ] as const) {
      const ended = await run(['bench', ...line.split(' '), ...endpoints]);
      expect(ended.exitCode, line).to.equal(exitCode);
      expect(ended.stderr, line).to.match(says);
    }
  });

  it('ends with what it has when it is interrupted', async () => {
    const interrupted = AbortSignal.timeout(700);
    const line = 'bench append --duration 60s --warm-up 100ms';
    const ended = await run([...line.split(' '), ...endpoints], { interrupted });
    expect(ended.exitCode).to.equal(130);
    expect(ended.stdout.toString()).to.match(/^append: .*\n {2}[0-9,]+ messages\/s/);
  });
});
