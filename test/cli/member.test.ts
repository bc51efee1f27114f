// tledger member …: what is asked of the group, what is said while waiting, how it ends.
import { expect } from 'chai';
import type { ChangeMembershipRequest } from '../../src/wire/admin_messages.ts';
import { FakeGroup, memberOf } from '../client/fake_server.ts';
import { until } from '../rpc/harness.ts';
import { type Run, type RunOptions, run, runUntil } from './harness.ts';

describe('cli: member', () => {
  let group: FakeGroup;
  let asked: ChangeMembershipRequest[];

  beforeEach(async () => {
    group = await FakeGroup.start(3);
    asked = [];
    group.onChangeMembership = (request) => {
      asked.push(request);
      return 'go on';
    };
  });
  afterEach(() => group.stop());

  const cli = (line: string, options: RunOptions = {}): Promise<Run> =>
    run([...line.split(' '), '--endpoints', group.endpoints.join(','), '--timeout', '20000'], options);
  /** That a command has asked at least once how far the change is. */
  const hasAsked = () => group.nodes.some(({ unaryCalls }) => unaryCalls.includes('clusterStatus'));

  const where = '--peer p:1 --client c:2';
  const none = { nodeId: '', clientAddress: '', peerAddress: '', learnerOnly: false, replaces: '', force: false };
  const requests: readonly (readonly [string, Partial<ChangeMembershipRequest>])[] = [
    [`add n3 ${where}`, { kind: 'ADD', nodeId: 'n3', clientAddress: 'c:2', peerAddress: 'p:1' }],
    [
      `add n3 ${where} --learner`,
      { kind: 'ADD', nodeId: 'n3', clientAddress: 'c:2', peerAddress: 'p:1', learnerOnly: true },
    ],
    [
      `add n3 ${where} --replaces n0 --force`,
      { kind: 'ADD', nodeId: 'n3', clientAddress: 'c:2', peerAddress: 'p:1', replaces: 'n0', force: true },
    ],
    ['remove n1', { kind: 'REMOVE', nodeId: 'n1' }],
    ['remove n1 --force', { kind: 'REMOVE', nodeId: 'n1', force: true }],
    ['promote n1', { kind: 'PROMOTE', nodeId: 'n1' }],
    [`readdress n1 ${where}`, { kind: 'READDRESS', nodeId: 'n1', clientAddress: 'c:2', peerAddress: 'p:1' }],
    ['cancel', { kind: 'CANCEL' }],
  ];
  for (const [line, request] of requests) {
    it(`${line} asks for just that`, async () => {
      const { exitCode, stdout, stderr } = await cli(`member ${line} --no-wait`);
      expect([exitCode, stderr]).to.deep.equal([0, '']);
      expect(stdout.toString()).to.equal('the change is under way\n');
      expect(asked).to.deep.equal([{ ...none, ...request }]);
    });
  }

  const wrong: readonly (readonly [string, RegExp])[] = [
    [`add ${where}`, /missing required argument 'node'/],
    ['add n3', /required option '--peer <host:port>' not specified/],
    ['add n3 --peer p:1', /required option '--client <host:port>' not specified/],
    ['add n3 --peer p --client c:1', /'p' is invalid\. host:port is expected/],
    ['add n3 --peer 0.0.0.0:1 --client c:1', /'0\.0\.0\.0:1' is invalid\. "0\.0\.0\.0:1" is something to listen on/],
    ['readdress n1 --peer p:1 --client [::]:1', /'\[::\]:1' is invalid\. .* is something to listen on/],
    ['add n3 --peer .p:1 --client c:1', /'\.p:1' is invalid\. .* is not host:port/],
    [`add n3 ${where} --learner --replaces n0`, /--learner and --replaces exclude each other/],
    [`add n3 n4 ${where}`, /too many arguments/],
    ['remove', /missing required argument 'node'/],
    ['remove n1 --peer p:1', /unknown option '--peer'/],
    ['readdress n1 --client c:1', /required option '--peer/],
    ['cancel n1', /too many arguments/],
    ['rename n1', /unknown command 'rename'/],
  ];
  for (const [line, what] of wrong) {
    it(`${line} is wrong usage`, async () => {
      const { exitCode, stderr } = await cli(`member ${line}`);
      expect(exitCode).to.equal(2);
      expect(stderr).to.match(what);
      expect(asked).to.deep.equal([]);
    });
  }

  it('add says on stderr what it waits for, and ends when the node is a voter', async () => {
    const adding = cli(`member add n3 ${where} --format json`);
    await until(hasAsked, 'it has asked');
    setTimeout(() => group.setMembers(group.membership.members.map((one) => ({ ...one, role: 'voter' }))), 400);
    const { exitCode, stdout, stderr } = await adding;
    expect(stderr).to.equal('n3 is a learner, but does not answer at p:1: it is away\n');
    expect([exitCode, JSON.parse(stdout.toString())]).to.deep.equal([
      0,
      { index: 1, done: true, text: 'n3 is a voter' },
    ]);
  });

  it('add ends with 130 when it is interrupted, with 1 when its time is up, and the change goes on', async () => {
    const interrupt = new AbortController();
    const interrupting = cli(`member add n3 ${where}`, { interrupted: interrupt.signal });
    await until(hasAsked, 'it has asked');
    setTimeout(() => interrupt.abort(), 300);
    const interrupted = await interrupting;
    expect(interrupted.exitCode).to.equal(130);
    expect(interrupted.stderr).to.equal(
      'n3 is a learner, but does not answer at p:1: it is away\n' +
        'the change goes on; "tledger member cancel" takes it back\n',
    );
    const isTold = ({ stderr }: Run) => stderr.includes('goes on: n3');
    const late = await runUntil(isTold, ['member', 'promote', 'n3', '--endpoints', group.endpoints.join(',')]);
    expect(late.exitCode).to.equal(1);
    expect(late.stderr).to.match(/goes on: n3 is a learner.* \(OUTCOME_UNKNOWN\)\n$/);
    expect(group.membership.members.at(-1)).to.include({ nodeId: 'n3', role: 'learner' });
  });

  it('remove says what is wrong with it', async () => {
    const unknown = await cli('member remove n9');
    expect([unknown.exitCode, unknown.stderr]).to.deep.equal([1, 'tledger: no member n9 (UNKNOWN_NODE)\n']);
    group.onChangeMembership = () => 'NO_HEALTHY_MAJORITY';
    const unsafe = await cli('member remove n1');
    expect(unsafe.exitCode).to.equal(1);
    expect(unsafe.stderr).to.match(/ \(NO_HEALTHY_MAJORITY\)\n$/);
  });

  it('remove is done when the member is gone', async () => {
    const { exitCode, stdout } = await cli('member remove n2');
    expect([exitCode, stdout.toString()]).to.deep.equal([0, 'done: n2 does not belong to the group any more\n']);
  });

  it('list and cluster status say first that a node was asked that was removed', async () => {
    group.outside = 'node "n0" was removed, as record 7 says';
    expect((await cli('member list')).stdout.toString()).to.match(
      /^The node that was asked is outside: node "n0" was removed, as record 7 says\. .*\n\ncluster fake, /,
    );
    const document = JSON.parse((await cli('member list --format json')).stdout.toString());
    expect(document.outside).to.equal(group.outside);
    const whole = await cli('cluster status');
    expect(whole.stdout.toString()).to.match(
      /^The node that was asked is outside: node "n0" was removed, as record 7 says\. .*\n\ncluster fake, /,
    );
    const asDocument = await cli('cluster status --format json');
    expect(JSON.parse(asDocument.stdout.toString()).outside).to.equal(group.outside);
  });

  it('list ends the reason of a stranger with what to do', async () => {
    const why = `node "${'n'.repeat(63)}" is of another group: delete its data and start it with --join`.padStart(
      330,
      '.',
    );
    group.awayBecause = why;
    group.setMembers([...group.membership.members, memberOf('n3')]);
    expect((await cli('member list')).stdout.toString()).to.match(/: \.*node "n+" .*start it with --join\n/);
  });

  it('list shows roles, lag, addresses, and what is still to happen', async () => {
    group.put('t', 0, 'x');
    group.put('t', 0, 'y');
    group.nodes[2]!.lagsAt = 1;
    const at = (index: number) => ({ clientAddress: group.endpoints[index]!, peerAddress: group.endpoints[index]! });
    group.setMembers(
      [
        memberOf('n0', { ...at(0), role: 'leaving' }),
        memberOf('n1', at(1)),
        memberOf('n2', { ...at(2), role: 'learner', promote: true, replaces: 'n0' }),
        memberOf('n3', { role: 'learner' }),
      ],
      true,
    );
    const { exitCode, stdout } = await cli('member list');
    expect(exitCode).to.equal(0);
    const lines = stdout.toString().split('\n');
    expect(lines[0]).to.equal('cluster fake, group g0, leader n0');
    expect(lines[2]).to.match(/^NODE +ROLE +STATE +LAG +CLIENTS +PEERS$/);
    expect(lines[3]).to.match(/^n0 +leaving +leader +0 +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+$/);
    expect(lines[4]).to.match(/^n1 +voter +follower +0 /);
    expect(lines[5]).to.match(/^n2 +learner +follower +1 /);
    expect(lines[6]).to.match(/^n3 +learner +unreachable +127\.0\.0\.1:1 +127\.0\.0\.1:2$/);
    expect(lines.slice(7, -1)).to.deep.equal([
      'n3: it is away',
      'n2 becomes a voter, in the place of n0, once it has caught up',
      'the group is changing over: a majority of the old and one of the new voters must agree',
    ]);
    const document = JSON.parse((await cli('member list --format json')).stdout.toString());
    expect(document).to.deep.include({ leaderId: 'n0', index: 1, committed: true, changingOver: true });
    expect(document.members[2]).to.deep.equal({
      nodeId: 'n2',
      role: 'learner',
      promote: true,
      replaces: 'n0',
      reachable: true,
      state: 'follower',
      lag: 1,
      ...at(2),
    });
    expect(document.members[3]).to.include({ role: 'learner', promote: false, reachable: false, lag: null });
  });
});
