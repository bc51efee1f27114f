// What is said of connected clients.
import { expect } from 'chai';
import { clientTable, differingSubscriptions, missingLines } from '../../src/cli/commands/client.ts';
import type { ClientTopic, ConnectedClient } from '../../src/wire/client_messages.ts';

const tags = (name: string, filter = '*'): ClientTopic => ({ name, filterType: 'TAG', filter });
const sql = (name: string, filter: string): ClientTopic => ({ name, filterType: 'SQL', filter });

function clientOf(clientId: string, topics: readonly ClientTopic[], some: Partial<ConnectedClient> = {}) {
  return {
    clientId,
    nodeId: 'n0',
    kind: 'PUSH_CONSUMER',
    group: 'billing',
    topics,
    language: 'JAVA',
    version: '5.0.7',
    address: '10.0.0.1:4711',
    connectedTimestamp: String(Date.now() - 65_000),
    lastSeenTimestamp: String(Date.now() - 3_500),
    ...some,
  };
}

describe('tledger client', () => {
  it('shows a line for each client', () => {
    const producer = { kind: 'PRODUCER', group: '', nodeId: 'n1' };
    const text = clientTable([
      clientOf('a@1', [tags('orders', 'red || green'), sql('payments', 'price > 7'), tags('refunds')]),
      clientOf('b@2', [{ name: 'orders', filterType: '', filter: '' }], producer),
    ]);
    const [head, first, second] = text.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(head).to.deep.equal('CLIENT KIND GROUP TOPICS LANGUAGE ADDRESS NODE SINCE SEEN'.split(' '));
    const topics = 'orders (tags red || green), payments (sql price > 7), refunds';
    const rest = ['JAVA 5.0.7', '10.0.0.1:4711'];
    expect(first).to.deep.equal(['a@1', 'push consumer', 'billing', topics, ...rest, 'n0', '1 min', '3 s ago']);
    expect(second).to.deep.equal(['b@2', 'producer', '-', 'orders', ...rest, 'n1', '1 min', '3 s ago']);
  });

  it('names the nodes whose clients are missing', () => {
    const nodes = [
      { nodeId: 'n0', error: '' },
      { nodeId: 'n1', error: 'no connection' },
    ];
    expect(missingLines({ nodes })).to.deep.equal(['n1 does not answer, its clients are missing: no connection']);
  });

  const both = (one: readonly ClientTopic[], other: readonly ClientTopic[]) => [
    clientOf('a', one),
    clientOf('b', other),
  ];
  const cases: readonly [string, readonly ConnectedClient[], readonly string[]][] = [
    ['the same', both([tags('t', 'x')], [tags('t', 'x')]), []],
    ['other tags', both([tags('t', 'x')], [tags('t', 'y')]), ['t: tags x (a); tags y (b)']],
    ['tags and SQL', both([tags('t')], [sql('t', 'a = 1')]), ['t: tags * (a); sql a = 1 (b)']],
    ['one topic more', both([tags('t')], [tags('t'), tags('u')]), ['u: not at all (a); tags * (b)']],
    ['the same in another order', both([tags('t'), tags('u')], [tags('u'), tags('t')]), []],
    ['one client on two nodes', [clientOf('a', [tags('t')]), clientOf('a', [tags('t')], { nodeId: 'n1' })], []],
    ['producers', [clientOf('a', [tags('t')]), clientOf('b', [tags('u')], { group: '' })], []],
    [
      'many',
      [clientOf('z', [tags('t', 'x')]), ...['a', 'b', 'c', 'd', 'e'].map((id) => clientOf(id, [tags('t')]))],
      ['t: tags x (z); tags * (a, b, c and 2 more)'],
    ],
  ];
  for (const [what, clients, lines] of cases) {
    it(`${lines.length === 0 ? 'does not warn' : 'warns'} of ${what}`, () => {
      expect(differingSubscriptions(clients)).to.deep.equal(lines);
    });
  }
});
