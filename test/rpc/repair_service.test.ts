// The client port of a node that repairs its data: it opens, whatever its services look for, and says what the node does.
import { Client, credentials } from '@grpc/grpc-js';
import { expect } from 'chai';
import { bootstrap } from '../../src/raft/membership.ts';
import { logIndex, term } from '../../src/raft/types.ts';
import { groupMembersOf } from '../../src/rpc/members.ts';
import { RepairGateway } from '../../src/rpc/repair_service.ts';
import { startClientServer } from '../../src/rpc/server.ts';
import { appendOf, ask, ledgerService, refusal } from './harness.ts';

describe('a node that repairs its data', () => {
  it('opens its client port, and refuses with REPAIRING and what is damaged', async () => {
    const membership = bootstrap({ n0: { peer: 'p:1', client: 'c:1' }, n1: { peer: 'p:2', client: 'c:2' } });
    const gateway = new RepairGateway({
      ...{ cluster: 'c', group: 'g0', term: term(1) },
      self: { nodeId: 'n0', clientAddress: 'c:1', peerAddress: 'p:1' },
      members: groupMembersOf({ index: logIndex(0), membership }, logIndex(0)),
      facts: () => ({ version: '0', pid: 1, uptimeMs: 0 }),
      says: () => 'a segment is damaged',
      linkTo: () => {
        throw new Error('nobody is asked');
      },
    });
    const logger = { warn: () => {}, error: () => {} };
    const server = await startClientServer(gateway, { address: '127.0.0.1:0', logger });
    const client = new Client(server.address, credentials.createInsecure());
    try {
      const { code, text } = await refusal(ask(client, ledgerService.append, appendOf('a')));
      expect(code).to.equal('REPAIRING');
      expect(text).to.include('n0').and.include('a segment is damaged');
    } finally {
      client.close();
      await server.stop(1_000);
    }
  });
});
