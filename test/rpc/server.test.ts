// The client port itself: its limits, its name in errors, health, reflection, and how it ends.
import { connect as connectTcp } from 'node:net';
import { type Client, credentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { expect } from 'chai';
import { protoPath } from 'grpc-health-check';
import { TLedgerError } from '../../src/base/errors.ts';
import { CONNECTIONS_MAX } from '../../src/rpc/port.ts';
import { startClientServer } from '../../src/rpc/server.ts';
import { clientPortOptions } from '../../src/wire/channel_options.ts';
import { healthMethod } from '../../src/wire/health.ts';
import type { Method } from '../../src/wire/services.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { FakeGateway } from './fake_gateway.ts';
import {
  adminService,
  appendOf,
  ask,
  failureOf,
  type Harness,
  ledgerService,
  openAppendStream,
  openConsume,
  openWatch,
  refusal,
  startHarness,
  until,
} from './harness.ts';

const logger = { warn: () => {}, error: () => {} };

describe('client port', () => {
  let harness: Harness;
  beforeEach(async () => {
    harness = await startHarness();
  });
  afterEach(() => harness[Symbol.asyncDispose]());

  it('bounds what grpc-js leaves unlimited', () => {
    expect(clientPortOptions).to.include({
      'grpc.max_concurrent_streams': 1_024,
      'grpc.max_receive_message_length': 8 * 1024 * 1024,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 5_000,
      'grpc.max_connection_idle_ms': 300_000,
    });
    expect(CONNECTIONS_MAX).to.be.lessThan(10_000);
    expect(harness.complaints, 'private fields of grpc-js that were not where they should be').to.deep.equal([]);
  });

  it('names the address that is taken', async () => {
    try {
      await startClientServer(new FakeGateway(), { address: harness.address, logger });
      expect.fail('the port was bound twice');
    } catch (error) {
      expect(error).to.be.instanceOf(TLedgerError).with.property('code', 'PORT_IN_USE');
      expect((error as Error).message).to.equal(`${harness.address} is taken by another process`);
    }
  });

  it('names an address that cannot be bound', async () => {
    try {
      await startClientServer(new FakeGateway(), { address: '192.0.2.1:1', logger });
      expect.fail('a foreign address was bound');
    } catch (error) {
      expect(error).to.be.instanceOf(TLedgerError).with.property('code', 'INVALID_CONFIG');
      expect((error as Error).message).to.match(/^cannot listen on 192\.0\.2\.1:1: /);
    }
  });

  it('is healthy while somebody leads', async () => {
    const loaded = loadPackageDefinition(loadSync(protoPath)) as unknown as {
      grpc: { health: { v1: { Health: new (address: string, creds: object) => HealthClient } } };
    };
    const health = new loaded.grpc.health.v1.Health(harness.address, credentials.createInsecure());
    const check = (service: string): Promise<number | string> =>
      new Promise((resolve, reject) => {
        health.check({ service }, (error, response) => (error === null ? resolve(response.status) : reject(error)));
      });
    try {
      for (const service of ['', 'tledger.v1.Ledger', 'tledger.v1.Admin']) {
        expect(await check(service), service).to.equal(1);
        harness.gateway.setLeader(null);
        expect(await check(service), service).to.equal(2);
        harness.gateway.setLeader({ nodeId: 'n0', clientAddress: 'x:1', term: 9 as never });
      }
      expect((await refusal(check('nobody'))).status).to.equal(status.NOT_FOUND);
    } finally {
      health.close();
    }
  });

  it('of a node that is removed serves nobody, ends what is open, and still says who the members are', async () => {
    const { gateway, client } = harness;
    const codeWhenOver = (stream: {
      on(event: 'error', listener: (error: unknown) => void): unknown;
      resume(): void;
    }) =>
      new Promise<string>((resolve) => {
        stream.on('error', (error) => resolve(failureOf(error).code));
        stream.resume();
      });
    const watch = openWatch(client);
    const consume = openConsume(client, {
      topic: 'orders',
      positions: [],
      start: 'EARLIEST',
      maxBytes: 0,
      packed: false,
    });
    const ends = [codeWhenOver(watch), codeWhenOver(consume)];
    await until(() => gateway.listeners.size === 2 && gateway.fake.listenerCount === 4, 'both are open');
    gateway.isOutside = true;
    gateway.changed();
    for (const code of await Promise.all(ends)) expect(code).to.be.oneOf(['NODE_REMOVED', 'SHUTTING_DOWN']);
    const again = openConsume(client, {
      topic: 'orders',
      positions: [],
      start: 'EARLIEST',
      maxBytes: 0,
      packed: false,
    });
    expect(await codeWhenOver(again)).to.equal('NODE_REMOVED');
    const late = openWatch(client);
    const told: unknown[] = [];
    late.on('data', (metadata: { members: unknown[] }) => told.push(...metadata.members));
    expect(await codeWhenOver(late)).to.equal('NODE_REMOVED');
    expect(told).to.have.length(3);
    const { status: health } = await ask(
      client,
      healthMethod as Method<{ service: string }, never, { status: string }>,
      { service: '' },
    );
    expect(health).to.equal('NOT_SERVING');
    gateway.isOutside = false;
    gateway.changed();
    expect(await ask(client, adminService.clusterStatus, { localOnly: true })).to.include({ group: 'g0' });
    const { status: healthy } = await ask(
      client,
      healthMethod as Method<{ service: string }, never, { status: string }>,
      { service: '' },
    );
    expect(healthy, 'a node may be added again').to.equal('SERVING');
  });

  it('reflects its services, and not those of the peer port', async () => {
    const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
    const same = (value: Buffer): Buffer => value;
    const stream = harness.client.makeBidiStreamRequest(path, same, same);
    const answer = new Promise<Buffer>((resolve, reject) => {
      stream.on('data', resolve);
      stream.on('error', reject);
    });
    stream.write(Buffer.from('3a00', 'hex')); // list_services: ""
    const text = String(await answer);
    stream.end();
    expect(text).to.contain('tledger.v1.Ledger').and.contain('tledger.v1.Admin');
    expect(text).to.not.contain('tledger.v1.Peer');
  });

  it('does not serve the peer service to clients', async () => {
    const same = (value: Buffer): Buffer => value;
    const method = { path: '/tledger.v1.Peer/Vote', requestSerialize: same, responseDeserialize: same };
    expect((await refusal(ask(harness.client, method as never, Buffer.of()))).status).to.equal(status.UNIMPLEMENTED);
  });

  it('lets a call under way finish when it stops', async () => {
    const commits: (() => void)[] = [];
    harness.gateway.hold = (_request, _done, commit) => commits.push(commit);
    const answer = ask(harness.client, ledgerService.append, appendOf('a'));
    await until(() => commits.length === 1, 'it has arrived');
    const stopped = harness.stopServer(20_000);
    setTimeout(() => commits[0]!(), 50);
    expect((await answer).count).to.equal(1);
    await stopped;
  });

  it('does not wait for ever: what is left after its bound is cut', async () => {
    harness.gateway.hold = () => {};
    const answer = refusal(ask(harness.client, ledgerService.append, appendOf('a')));
    await until(() => harness.gateway.appended.length === 1, 'it has arrived');
    const time = new WorkingTime();
    await harness.stopServer(100);
    expect(time.end()).to.be.below(2_000);
    expect((await answer).status).to.be.oneOf([status.CANCELLED, status.UNAVAILABLE]);
  });

  it('stops quickly with streams open and idle connections', async () => {
    const stream = openConsume(harness.client, {
      topic: 'orders',
      positions: [],
      start: 'EARLIEST',
      maxBytes: 0,
      packed: false,
    });
    stream.on('data', () => {});
    stream.on('error', () => {});
    const appends = openAppendStream(harness.client);
    appends.on('data', () => {});
    appends.on('error', () => {});
    const [host, port] = harness.address.split(':') as [string, string];
    const socket = connectTcp(Number(port), host);
    socket.on('error', () => {});
    await until(() => harness.gateway.fake.listenerCount === 4, 'it listens');
    const time = new WorkingTime();
    await harness.stopServer(5_000);
    expect(time.end()).to.be.below(1_500);
    socket.destroy();
  });

  it('refuses calls while it stops', async () => {
    const commits: (() => void)[] = [];
    harness.gateway.hold = (_request, _done, commit) => commits.push(commit);
    const first = ask(harness.client, ledgerService.append, appendOf('a'));
    await until(() => commits.length === 1, 'it has arrived');
    const stopped = harness.stopServer(20_000);
    expect((await refusal(ask(harness.client, ledgerService.append, appendOf('b')))).code).to.equal('SHUTTING_DOWN');
    commits[0]!();
    expect((await first).count).to.equal(1);
    await stopped;
  });
});

interface HealthClient extends Client {
  check(request: { service: string }, callback: (error: Error | null, response: { status: number }) => void): void;
}
