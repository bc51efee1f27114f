// Where clients are sent: routes, assignments, and the port they come to.

import { Client, credentials } from '@grpc/grpc-js';
import { expect } from 'chai';
import { endpointsFor } from '../../../src/rpc/rocketmq/routes.ts';
import { GRPC_MESSAGE_BYTES_MAX } from '../../../src/wire/limits.ts';
import type { Endpoints } from '../../../src/wire/rocketmq/definitions.ts';
import { FakeGateway } from '../fake_gateway.ts';
import { appendOf, ask, ledgerService, refusal } from '../harness.ts';
import { messageOf, RawClient } from './client.ts';
import { putGroup, type RocketmqHarness, startRocketmq } from './harness.ts';

const MIB = 1_048_576;

describe('routes of RocketMQ', () => {
  let harness: RocketmqHarness;

  before(async () => {
    harness = await startRocketmq({
      fifo: 'fifo',
      delay: 'delay',
      transaction: 'transaction',
      lite: 'lite',
      priority: 'priority',
    });
  });

  after(async () => {
    expect(harness.complaints).to.deep.equal([]);
    await harness[Symbol.asyncDispose]();
  });

  it('name every queue once, from 0, on a broker that clients take for a master', async () => {
    const topic = { resourceNamespace: '', name: 'orders' };
    const { status, messageQueues } = await harness.client.ask('queryRoute', { topic });
    expect(status?.code).to.equal('OK');
    expect(messageQueues.map(({ id }) => id)).to.deep.equal([0, 1, 2, 3]);
    for (const queue of messageQueues) {
      expect(queue).to.deep.include({ topic, permission: 'READ_WRITE' });
      expect(queue.broker).to.deep.include({ name: 'g0', id: 0 });
      expect(queue.broker!.endpoints!.addresses).to.have.length(1);
    }
  });

  const types = {
    orders: ['NORMAL', 'FIFO', 'DELAY', 'TRANSACTION'],
    ...{ fifo: ['FIFO'], delay: ['DELAY'], transaction: ['TRANSACTION'], lite: ['LITE'], priority: ['PRIORITY'] },
  };
  for (const [name, accepted] of Object.entries(types)) {
    it(`say that the topic ${name} takes ${accepted.join(', ')}`, async () => {
      const { messageQueues } = await harness.client.ask('queryRoute', { topic: { name } });
      expect(messageQueues[0]!.acceptMessageTypes).to.deep.equal(accepted);
    });
  }

  it('are denied only after catching up, and never made', async () => {
    const { gateway, client } = harness;
    const before = gateway.barriers;
    const { status, messageQueues } = await client.ask('queryRoute', { topic: { name: 'nowhere' } });
    expect(status).to.deep.equal({
      code: 'TOPIC_NOT_FOUND',
      message: 'CODE: 17  DESC: No topic route info in name server for the topic: nowhere',
    });
    expect(messageQueues).to.deep.equal([]);
    expect(gateway.barriers).to.equal(before + 1);
    expect(gateway.fake.topic('nowhere')).to.equal(undefined);
    gateway.onBarrier = () => gateway.fake.addTopic('late', 1);
    expect((await client.ask('queryRoute', { topic: { name: 'late' } })).messageQueues).to.have.length(1);
    gateway.onBarrier = () => {};
  });

  it('assign the whole broker to each consumer of a group, and every queue to those of a group in order', async () => {
    putGroup(harness.gateway, 'ordered', { isFifo: true });
    const ids = async (name: string) => {
      const request = { topic: { name: 'orders' }, group: { name } };
      const { assignments } = await harness.client.ask('queryAssignment', request);
      return assignments.map(({ messageQueue }) => messageQueue!.id);
    };
    expect(await ids('billing')).to.deep.equal([-1]);
    expect(await ids('ordered')).to.deep.equal([0, 1, 2, 3]);
    const { status } = await harness.client.ask('queryAssignment', { topic: { name: 'orders' }, group: { name: '' } });
    expect(status?.code).to.equal('ILLEGAL_CONSUMER_GROUP');
  });

  it('of a node that is out of its group say so', async () => {
    harness.gateway.isOutside = true;
    const { status } = await harness.client.ask('queryRoute', { topic: { name: 'orders' } });
    harness.gateway.isOutside = false;
    expect(status?.code).to.equal('INTERNAL_SERVER_ERROR');
  });

  describe('lead a client', () => {
    const gateway = new FakeGateway();
    const at = (scheme: Endpoints['scheme'], ...addresses: string[]): Endpoints => ({
      scheme,
      addresses: addresses.map((address) => {
        const colon = address.lastIndexOf(':');
        return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
      }),
    });
    const rows: readonly [what: string, asked: Endpoints | null, authority: string, expected: Endpoints][] = [
      ['to this node when it does not say how it came', null, '', at('IPv4', '127.0.0.1:8081')],
      ['to this node when it says nothing', at('IPv4'), '', at('IPv4', '127.0.0.1:8081')],
      ['back by the host it came by', at('DOMAIN_NAME', 'localhost:8081'), '', at('DOMAIN_NAME', 'localhost:8081')],
      ["to this node's port", at('IPv4', '10.0.0.5:80'), '10.0.0.7:80', at('IPv4', '10.0.0.5:8081')],
      ['back by a forwarded port', at('IPv4', '10.0.0.5:9000'), '10.0.0.5:9000', at('IPv4', '10.0.0.5:9000')],
      ['back by IPv6', at('IPv6', '::1:9000'), '[::1]:9000', at('IPv6', '::1:9000')],
      ['to one of several', at('IPv4', '10.0.0.5:1', '10.0.0.6:2'), '10.0.0.6:2', at('IPv4', '10.0.0.6:2')],
      ['to the first of several', at('IPv4', '10.0.0.5:1', '10.0.0.6:2'), '', at('IPv4', '10.0.0.5:8081')],
      [
        'by the scheme of the host',
        at('ADDRESS_SCHEME_UNSPECIFIED', 'n0.local:1'),
        '',
        at('DOMAIN_NAME', 'n0.local:8081'),
      ],
      ['by IPv4 if that is what it is', at('ADDRESS_SCHEME_UNSPECIFIED', '1.2.3.4:1'), '', at('IPv4', '1.2.3.4:8081')],
    ];
    for (const [what, asked, authority, expected] of rows) {
      it(what, () => {
        expect(endpointsFor(gateway, asked, { authority })).to.deep.equal(expected);
      });
    }
  });

  describe('end at a port', () => {
    it('that is found by localhost, over IPv6, too', async () => {
      const port = harness.address.slice(harness.address.lastIndexOf(':') + 1);
      for (const host of ['localhost', '[::1]']) {
        await using client = new RawClient(`${host}:${port}`);
        const { status } = await client.ask('queryRoute', { topic: { name: 'orders' } });
        expect(status?.code, host).to.equal('OK');
      }
    });

    it('that takes large requests of RocketMQ, to refuse them in the answer, and none of others', async () => {
      const { status } = await harness.client.send(messageOf('m', {}, { body: Buffer.alloc(100 * MIB) }));
      expect(status?.code).to.equal('MESSAGE_BODY_TOO_LARGE');
      const client = new Client(harness.address, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
      try {
        const body = Buffer.alloc(GRPC_MESSAGE_BYTES_MAX);
        const refused = await refusal(ask(client, ledgerService.append, appendOf(body) as never));
        expect(refused.text).to.match(/larger than max/);
      } finally {
        client.close();
      }
    });
  });
});
