// Clients of all nodes, page by page.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { CLIENTS_PAGE_COUNT_MAX, ConnectedClients, type LocalClient } from '../../src/rpc/connected_clients.ts';
import type { ConnectedClient, ListClientsResponse } from '../../src/wire/client_messages.ts';

const clientOf = (clientId: string, some: Partial<LocalClient> = {}): LocalClient => ({
  clientId,
  kind: 'PUSH_CONSUMER',
  group: 'billing',
  topics: [{ name: 'orders', filterType: 'TAG', filter: '*' }],
  language: 'JAVA',
  version: '5',
  address: '127.0.0.1:1',
  connectedTimestamp: '1',
  lastSeenTimestamp: '2',
  ...some,
});

/** Three nodes that know these; null for one that does not answer. */
function nodesOf(known: Readonly<Record<string, readonly LocalClient[] | null>>): Map<string, ConnectedClients> {
  const members = Object.keys(known).map((nodeId) => ({ nodeId }));
  const nodes = new Map<string, ConnectedClients>();
  for (const { nodeId } of members) {
    const node = new ConnectedClients({
      nodeId,
      members: () => members,
      ask: async (other, request) => {
        if (known[other] === null) throw new TLedgerError('UNREACHABLE', `${other} is down`);
        expect(request.localOnly).to.equal(true);
        return nodes.get(other)!.localPage(request);
      },
    });
    node.known(() => known[nodeId] ?? []);
    nodes.set(nodeId, node);
  }
  return nodes;
}

/** All pages, as one node gives them. */
async function listed(node: ConnectedClients, group = '') {
  const pages: ListClientsResponse[] = [];
  for (let after: ConnectedClient | undefined; ; ) {
    const { clientId: afterClientId = '', nodeId: afterNodeId = '' } = after ?? {};
    const page = await node.page({ group, localOnly: false, afterClientId, afterNodeId });
    pages.push(page);
    after = page.clients.at(-1);
    if (page.complete) return { pages, names: pages.flatMap(({ clients }) => clients.map(nameOf)) };
    expect(after, 'a page that is not the last one has somebody on it').not.to.equal(undefined);
  }
}

const nameOf = ({ clientId, nodeId }: ConnectedClient): string => `${clientId}@${nodeId}`;

describe('connected clients', () => {
  it('are those of all nodes, by id and node, whichever is asked', async () => {
    const nodes = nodesOf({ n0: [clientOf('b'), clientOf('d')], n1: [clientOf('b'), clientOf('a')], n2: [] });
    for (const node of nodes.values()) {
      const { pages, names } = await listed(node);
      expect(names).to.deep.equal(['a@n1', 'b@n0', 'b@n1', 'd@n0']);
      expect(pages.flatMap((page) => page.nodes)).to.have.deep.members([
        { nodeId: 'n0', error: '' },
        { nodeId: 'n1', error: '' },
        { nodeId: 'n2', error: '' },
      ]);
    }
  });

  it('name a node that does not answer', async () => {
    const nodes = nodesOf({ n0: [clientOf('a')], n1: null, n2: [clientOf('c')] });
    const { pages, names } = await listed(nodes.get('n0')!);
    expect(names).to.deep.equal(['a@n0', 'c@n2']);
    expect(pages[0]!.nodes[1]).to.deep.equal({ nodeId: 'n1', error: 'n1 is down' });
  });

  it('can be those of one group only', async () => {
    const nodes = nodesOf({
      n0: [clientOf('a'), clientOf('b', { group: 'mail' })],
      n1: [clientOf('c', { group: '' })],
    });
    expect((await listed(nodes.get('n1')!, 'mail')).names).to.deep.equal(['b@n0']);
  });

  it('come in pages, none left out and none twice, however they are spread', async () => {
    const many = Array.from({ length: 2 * CLIENTS_PAGE_COUNT_MAX + 7 }, (_, at) =>
      clientOf(`c${String(at).padStart(5, '0')}`),
    );
    const n0 = many.filter((_, at) => at % 7 !== 0);
    const n1 = many.filter((_, at) => at % 7 === 0 || at > 900);
    const { pages, names } = await listed(nodesOf({ n0, n1, n2: [clientOf('z')] }).get('n2')!);
    const expected = [...n0.map((one) => `${one.clientId}@n0`), ...n1.map((one) => `${one.clientId}@n1`), 'z@n2'];
    expect(names).to.deep.equal(expected.sort());
    expect(Math.max(...pages.map(({ clients }) => clients.length))).to.equal(CLIENTS_PAGE_COUNT_MAX);
  });

  it('leave nobody out that a full page has no room for, whatever comes later on another node', async () => {
    const topics = [{ name: 'orders', filterType: 'SQL', filter: 'x'.repeat(300 * 1_024) }];
    const n0 = ['a', 'b'].map((clientId) => clientOf(clientId, { topics }));
    const { names } = await listed(nodesOf({ n0, n1: [clientOf('z')] }).get('n0')!);
    expect(names).to.deep.equal(['a@n0', 'b@n0', 'z@n1']);
  });

  it('come in pages of bounded size, at least one to a page', async () => {
    const topics = [{ name: 'orders', filterType: 'SQL', filter: 'ä'.repeat(300_000) }];
    const n0 = ['a', 'b', 'c'].map((clientId) => clientOf(clientId, { topics }));
    const { pages, names } = await listed(nodesOf({ n0, n1: n0 }).get('n0')!);
    expect(pages.map(({ clients }) => clients.length)).to.deep.equal([1, 1, 1, 1, 1, 1]);
    expect(names).to.deep.equal(['a@n0', 'a@n1', 'b@n0', 'b@n1', 'c@n0', 'c@n1']);
  });
});
