// Commands against a fake group, in this process: what they print, what they do, how they end.
import { expect } from 'chai';
import { WorkingTime } from '../chaos/working_time.ts';
import { FakeGroup } from '../client/fake_server.ts';
import { until } from '../rpc/harness.ts';
import { type Run, type RunOptions, run, runUntil } from './harness.ts';

describe('cli: commands', () => {
  let group: FakeGroup;

  beforeEach(async () => {
    group = await FakeGroup.start(3);
  });
  afterEach(() => group.stop());

  const cli = (line: string, options: RunOptions = {}): Promise<Run> =>
    run([...line.split(' '), '--endpoints', group.endpoints.join(','), '--timeout', '20000'], options);
  /** Whether all queues are read by somebody who was not there before: what is put then is new to them. */
  const readsAll = (before = 0): boolean => group.nodes.reduce((sum, { readers }) => sum + readers, 0) > before;
  const json = async (line: string, options: RunOptions = {}) => {
    const result = await cli(`${line} --format json`, options);
    if (!line.startsWith('produce')) expect(result.stderr).to.equal('');
    return JSON.parse(result.stdout.toString());
  };

  it('topic create says whether it was made, and again that it exists', async () => {
    expect((await cli('topic create orders --queues 2')).stdout.toString()).to.equal('created orders with 2 queues\n');
    const again = await json('topic create orders --queues 2');
    expect(again).to.deep.include({ created: false, name: 'orders', queues: 2 });
  });

  it('topic list and describe show what is held', async () => {
    group.put('t', 1, 'x');
    expect((await cli('topic list')).stdout.toString()).to.equal('TOPIC  QUEUES  MESSAGES\nt           4         1\n');
    const described = await json('topic describe t');
    expect(described.ranges[1]).to.deep.equal({ queue: 1, minOffset: 0, maxOffset: 1 });
    const absent = await cli('topic describe nowhere');
    expect(absent.exitCode).to.equal(1);
    expect(absent.stderr).to.equal('tledger: the topic "nowhere" does not exist (TOPIC_NOT_FOUND)\n');
  });

  it('message send and read carry tags, keys and properties', async () => {
    const sent = await json('message send --topic t --queue 2 --key k1 --key k2 --tag x --property p=q hello');
    expect(sent).to.deep.equal({ topic: 't', queue: 2, offset: 0 });
    const read = await json('message read --topic t --queue 2 --offset 0');
    expect(read.messages[0]).to.deep.include({
      offset: 0,
      body: Buffer.from('hello').toString('base64'),
      tag: 'x',
      keys: ['k1', 'k2'],
      properties: { p: 'q' },
    });
    const text = await cli('message read --topic t --queue 2 --offset 0');
    expect(text.stdout.toString()).to.equal('2:0  tag=x  key=k1  key=k2  hello\n');
  });

  it('message send reads a body of any bytes from stdin', async () => {
    const body = Buffer.from([0xff, 0x0a, 0x00]);
    await cli('message send --topic t --queue 0 -', { stdin: body });
    const { messages } = await json('message read --topic t --queue 0 --offset 0');
    expect(Buffer.from(messages[0].body, 'base64')).to.deep.equal(body);
  });

  it('message tail prints what comes until it is interrupted', async () => {
    const abort = new AbortController();
    group.put('t', 0, 'before');
    const tailing = cli('message tail --topic t', { interrupted: abort.signal, onStdout: () => abort.abort() });
    await until(readsAll, 'it reads all queues');
    group.put('t', 0, 'after');
    const tail = await tailing;
    expect(tail.stdout.toString()).to.equal('0:1  after\n');
    expect(tail.exitCode).to.equal(0);
  });

  it('cluster status shows every member and its lag', async () => {
    group.put('t', 0, 'x');
    const { stdout } = await cli('cluster status');
    const lines = stdout.toString().split('\n');
    expect(lines[0]).to.equal('cluster fake, group g0, leader n0');
    expect(lines[2]).to.match(/^NODE +ROLE +TERM +LAST +COMMITTED +APPLIED +LAG +FLUSHED +ADDRESS +UPTIME$/);
    expect(lines[3]).to.match(/^n0 +leader +1 +1 +1 +1 +0 +4,096 +127\.0\.0\.1:\d+ +1 min$/);
    const document = await json('cluster status');
    expect(document.nodes).to.have.length(3);
    expect(document.nodes[1]).to.deep.include({ nodeId: 'n1', role: 'follower', lag: 0, lastIndex: 1 });
  });

  it('cluster status says with 3 that nobody leads, and what the members are that are no voters', async () => {
    group.setMembers(
      group.membership.members.map((one) => (one.nodeId === 'n2' ? { ...one, role: 'learner' as const } : one)),
    );
    expect((await cli('cluster status')).stdout.toString().split('\n')[5]).to.match(/^n2 +learner /);
    group.lead(undefined);
    const leaderless = await cli('cluster status');
    expect([leaderless.exitCode, leaderless.stderr]).to.deep.equal([3, '']);
    expect(leaderless.stdout.toString()).to.match(/^cluster fake, group g0, no leader\n/);
    const document = JSON.parse((await cli('cluster status --format json')).stdout.toString());
    expect(document).to.include({ leaderId: null });
    expect(document.nodes[2]).to.include({ role: 'follower', membershipRole: 'learner' });
  });

  it('leader transfer names the new leader', async () => {
    expect((await json('leader transfer --to n2')).leader).to.deep.include({ nodeId: 'n2', term: 2 });
    const unknown = await cli('leader transfer --to n9');
    expect([unknown.exitCode, unknown.stderr]).to.deep.equal([1, 'tledger: no member n9 (UNKNOWN_NODE)\n']);
  });

  it('log verify ends with 0 only if all replicas are identical', async () => {
    const same = await cli('log verify');
    expect([same.exitCode, same.stdout.toString()]).to.deep.equal([
      0,
      'NODE     CHAIN  BYTES  CHECKED\nn0    00000001  4,096\nn1    00000001  4,096\nn2    00000001  4,096\nall replicas are byte-identical up to record 0\n',
    ]);
    group.divergedNode = 1;
    const other = await cli('log verify --format json');
    expect(other.exitCode).to.equal(1);
    expect(JSON.parse(other.stdout.toString()).identical).to.equal(false);
    expect((await cli('log verify')).stdout.toString()).to.match(/the replicas DIFFER up to record 0\n$/);
    group.divergedNode = undefined;
    group.silentNode = 2;
    const partly = await cli('log verify');
    expect(partly.exitCode).to.equal(1);
    expect(partly.stdout.toString()).to.match(
      /n2\nn2 did not answer: it is away\nonly 2 of 3 replicas could be compared/,
    );
    group.silentNode = undefined;
    group.refusingNode = 1;
    expect((await cli('log verify')).stdout.toString()).to.include('\nn1 answered: it is behind\nonly 2 of 3');
  });

  describe('produce and consume', () => {
    const bytes = Buffer.from('one\n\ntwo\r\n\xff\xfe\n\n\nlast without newline', 'latin1');

    it('give back the same bytes, whatever they are: --keep-newline and --raw', async () => {
      const totals = await json('produce --topic t --queue 1 --keep-newline', { stdin: bytes });
      expect(totals).to.deep.include({ acknowledged: 7, failed: 0, unknown: 0, skipped: 0, bytes: bytes.length });
      const back = await cli('consume --topic t --queue 1 --raw');
      expect(back.exitCode).to.equal(0);
      expect(back.stdout).to.deep.equal(bytes);
    });

    it('send a line as a message and print a body as a line', async () => {
      const totals = await cli('produce --topic t --queue 0 --tag x', { stdin: 'a\nb\nc' });
      expect(totals.exitCode).to.equal(0);
      expect(totals.stderr).to.match(/^3 acknowledged, .*messages\/s/);
      expect(totals.stdout.toString()).to.equal('');
      expect((await cli('consume --topic t')).stdout.toString()).to.equal('a\nb\nc\n');
      const lines = (await cli('consume --topic t --format json')).stdout.toString().trimEnd().split('\n');
      expect(lines.map((line) => JSON.parse(line)).map(({ body, tag, offset }) => [body, tag, offset])).to.deep.equal([
        ['YQ==', 'x', 0],
        ['Yg==', 'x', 1],
        ['Yw==', 'x', 2],
      ]);
    });

    it('stop at an empty line with its number, having sent those before it', async () => {
      const stopped = await cli('produce --topic t --queue 0 --format json', { stdin: 'a\nb\n\nc\n' });
      expect(stopped.exitCode).to.equal(1);
      expect(JSON.parse(stopped.stdout.toString()).acknowledged).to.equal(2);
      expect(JSON.parse(stopped.stderr.trimEnd().split('\n').at(-1)!).error.message).to.equal(
        'line 3 is empty: use --skip-empty or --keep-newline',
      );
      expect(group.bodies('t', 0)).to.deep.equal(['a', 'b']);
    });

    it('leave empty lines out with --skip-empty', async () => {
      expect(await json('produce --topic t --queue 0 --skip-empty', { stdin: '\na\n\n' })).to.deep.include({
        acknowledged: 1,
        skipped: 2,
      });
    });

    it('keep equal keys together, in order', async () => {
      const lines = Array.from({ length: 60 }, (_, at) => `v${at},key${at % 7}`);
      await cli('produce --topic t --key-field 2 --delimiter ,', { stdin: lines.join('\n') });
      const queues = [0, 1, 2, 3].map((queue) => group.bodies('t', queue));
      expect(queues.flat()).to.have.length(60);
      for (let key = 0; key < 7; key++) {
        const holders = queues.filter((bodies) => bodies.some((body) => body.endsWith(`,key${key}`)));
        expect(holders, `queues that hold key${key}`).to.have.length(1);
        const mine = holders[0]!.filter((body) => body.endsWith(`,key${key}`));
        expect(mine).to.deep.equal(lines.filter((line) => line.endsWith(`,key${key}`)));
      }
    });

    it('name the line that has no such field', async () => {
      const failed = await cli('produce --topic t --key-field 2 --delimiter ,', { stdin: 'a,b\nc\n' });
      expect(failed.exitCode).to.equal(1);
      expect(failed.stderr).to.match(/\ntledger: line 2 has no field 2 \(INVALID_ARGUMENT\)\n$/);
    });

    it('name the first line that was refused', async () => {
      const failed = await cli('produce --topic nowhere', { stdin: 'a\nb\n' });
      expect(failed.exitCode).to.equal(1);
      expect(failed.stderr).to.match(/\ntledger: line 1: the topic "nowhere" does not exist \(TOPIC_NOT_FOUND\)\n$/);
    });

    it('report no leader as such, with 3', async () => {
      group.decide = () => ({ kind: 'refuse', code: 'NO_LEADER' });
      const line = ['produce', '--topic', 't', '--endpoints', group.endpoints.join(',')];
      const failed = await runUntil(({ exitCode }) => exitCode === 3, line, { stdin: 'a\n' });
      expect(failed.exitCode).to.equal(3);
      expect(failed.stderr).to.match(/^0 acknowledged, 1 failed/);
    });

    it('survive broken streams: each line once, in order', async () => {
      const lines = Array.from({ length: 3_000 }, (_, at) => `line ${at}`);
      let frames = 0;
      group.decide = () => (++frames % 3 === 0 ? { kind: 'drop', applied: frames % 2 === 0 } : { kind: 'apply' });
      const produced = await cli('produce --topic t --queue 0', { stdin: `${lines.join('\n')}\n` });
      expect(produced.exitCode).to.equal(0);
      expect(group.bodies('t', 0)).to.deep.equal(lines);
      expect((await cli('consume --topic t --queue 0')).stdout.toString()).to.equal(`${lines.join('\n')}\n`);
    });

    it('begin and end where told', async () => {
      for (let at = 0; at < 10; at++) group.put('t', 0, `m${at}`);
      const some = await cli('consume --topic t --queue 0 --from 3 --count 2');
      expect(some.stdout.toString()).to.equal('m3\nm4\n');
      const none = await cli('consume --topic t --queue 0 --from latest');
      expect([none.exitCode, none.stdout.toString()]).to.deep.equal([0, '']);
      const before = group.nodes.reduce((sum, { readers }) => sum + readers, 0);
      const following = cli('consume --topic t --from latest --follow --count 1');
      await until(() => readsAll(before), 'it reads all queues');
      group.put('t', 0, 'new');
      const followed = await following;
      expect(followed.stdout.toString()).to.equal('new\n');
    });

    it('read without a leader only what is asked for as stale', async () => {
      group.put('t', 0, 'x');
      group.lead(undefined);
      const endpoints = ['--endpoints', group.endpoints.join(',')];
      for (const line of ['consume --topic t', 'topic list', 'topic describe t']) {
        const refused = await runUntil(({ exitCode }) => exitCode === 3, [...line.split(' '), ...endpoints]);
        expect(refused.exitCode, line).to.equal(3);
        expect((await cli(`${line} --stale`)).exitCode, `${line} --stale`).to.equal(0);
      }
    });

    it('draw a progress line on a terminal and wipe it away', async () => {
      group.decide = () => ({ kind: 'apply', delayMs: 300 });
      const shown = await cli('produce --topic t --queue 0', { stdin: 'a\n', isStderrTerminal: true });
      const wipe = '\r\u001b[K';
      expect(shown.stderr.startsWith(`${wipe}0 acknowledged`), shown.stderr).to.equal(true);
      expect(shown.stderr.slice(shown.stderr.lastIndexOf(wipe) + wipe.length)).to.match(/^1 acknowledged.*\n$/);
    });

    it('say every second how far they are where there is no terminal, unless they should not', async () => {
      group.decide = () => ({ kind: 'apply', delayMs: 1_200 });
      const [shown, silent] = await Promise.all([
        cli('produce --topic t --queue 0', { stdin: 'a\n' }),
        cli('produce --topic t --queue 1 --no-progress', { stdin: 'a\n' }),
      ]);
      expect(shown.stderr).to.match(/^(0 acknowledged.*\n)+1 acknowledged.*\n$/);
      expect(silent.stderr).to.match(/^1 acknowledged.*\n$/);
    });

    it('end with 130 and the truth when they are interrupted', async () => {
      const interrupt = new AbortController();
      group.decide = () => {
        setTimeout(() => interrupt.abort(), 100);
        return { kind: 'silence' };
      };
      const endpoints = ['--endpoints', group.endpoints.join(','), '--format', 'json'];
      const options = { stdin: 'a\n', interrupted: interrupt.signal };
      const time = new WorkingTime();
      const stopped = await run(['produce', '--topic', 't', ...endpoints], options);
      expect(time.end()).to.be.below(4_000);
      expect(stopped.exitCode).to.equal(130);
      expect(stopped.stderr).not.to.include('tledger:');
      expect(JSON.parse(stopped.stdout.toString())).to.include({ acknowledged: 0, unknown: 1, failed: 0 });
      group.put('t', 0, 'x');
      const aborted = await run(['consume', '--topic', 't', ...endpoints], { interrupted: AbortSignal.abort() });
      expect(aborted.exitCode).to.equal(130);
    });
  });

  it('say wrong usage with 2, and what was expected', async () => {
    const wrong: readonly (readonly [string, RegExp])[] = [
      ['topic create', /missing required argument 'topic'/],
      ['produce', /required option '--topic <topic>' not specified/],
      ['produce --topic t --queue 1 --key-field 1', /exclude each other/],
      ['consume --topic t --from nowhere', /earliest, latest or an offset is expected/],
      ['consume --topic t --bogus', /unknown option '--bogus'/],
      ['nonsense', /unknown command 'nonsense'/],
      ['topic list --format xml', /Allowed choices are text, json/],
    ];
    for (const [line, expected] of wrong) {
      const result = await cli(line);
      expect(result.exitCode, line).to.equal(2);
      expect(result.stderr, line).to.match(expected);
      expect(result.stdout.length, line).to.equal(0);
    }
  });

  it('say wrong usage in JSON to those who asked for JSON', async () => {
    const wrong: readonly (readonly [string, RegExp])[] = [
      ['topic create --format json', /^missing required argument 'topic'$/],
      ['--format=json consume --topic t --bogus', /^unknown option '--bogus'$/],
      ['member add n3 --peer p:1 --client c:1 --learner --replaces n0 --format json', /exclude each other$/],
      ['topic --format json', /^a command is missing$/],
    ];
    for (const [line, expected] of wrong) {
      const result = await run(line.split(' '));
      expect([result.exitCode, result.stdout.length], line).to.deep.equal([2, 0]);
      expect(JSON.parse(result.stderr).error.message, line).to.match(expected);
    }
    expect((await run(['topic', '--help', '--format', 'json'])).exitCode).to.equal(0);
  });

  it('say why they wait: what each endpoint does', async () => {
    const dead = ['127.0.0.1:1', 'nowhere.invalid:1'];
    const waited = await run(['cluster', 'status', '--endpoints', dead.join(','), '--timeout', '1500']);
    expect(waited.exitCode).to.equal(3);
    const lines = waited.stderr.trimEnd().split('\n');
    const causes = '127.0.0.1:1: connection refused; nowhere.invalid:1: no such host';
    expect(lines).to.deep.equal([
      `waiting: ${causes}`,
      `tledger: none of ${dead.join(', ')} can be reached (${causes}) (UNREACHABLE)`,
    ]);
    group.lead(undefined);
    const line = ['topic', 'list', '--endpoints', group.endpoints.join(','), '--timeout', '2000'];
    const leaderless = await run(line);
    expect(leaderless.stderr).to.match(/^waiting: 127\.0\.0\.1:\d+: The group has no leader at the moment\.\n/);
  });

  it('teach in --help, with examples', async () => {
    for (const line of [
      '',
      'topic create',
      'message send',
      'produce',
      'consume',
      'cluster status',
      'leader transfer',
      'log verify',
    ]) {
      const help = await run([...line.split(' ').filter(Boolean), '--help']);
      expect(help.exitCode, line).to.equal(0);
      expect(help.stdout.toString(), line).to.match(/Examples?:\n/);
      expect(help.stdout.toString(), line).to.include('--endpoints');
    }
  });

  it('tell in --help what is needed, and not what is internal', async () => {
    const helpOf = async (line: string) => (await run([...line.split(' '), '--help'])).stdout.toString();
    const add = await helpOf('member add');
    expect(add.match(/--(peer|client) <host:port> .*\(required\)$/gm)).to.have.length(2);
    expect(add).to.match(/--learner .*\shas\s+no\s+vote\s+until\s+it\s+is\s+promoted/s);
    const start = await helpOf('node start');
    expect(start).not.to.include('--supervised');
    expect(start)
      .to.match(/--retention-bytes .*/)
      .and.to.match(/\[0,\s+or\s+at\s+least\s+`segmentSizeBytes`/);
  });
});
