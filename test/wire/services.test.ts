// The definitions fit the protos, and bytes that are no request reach the handler as a refusal.
import { Client, credentials, Server, ServerCredentials, type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { clientChannelOptions, clientPortOptions, peerPortOptions } from '../../src/wire/channel_options.ts';
import { packageDefinition, serviceOf } from '../../src/wire/proto.ts';
import { MESSAGING_SERVICE, messagingService } from '../../src/wire/rocketmq/service.ts';
import { bindWithWideWindows } from '../../src/wire/server_windows.ts';
import {
  adminService,
  codecs,
  type LedgerHandlers,
  ledgerService,
  peerService,
  wellFormed,
} from '../../src/wire/services.ts';
import { errorOf, statusOf } from '../../src/wire/status.ts';

const byPath = (a: { readonly path: string }, b: { readonly path: string }): number => (a.path < b.path ? -1 : 1);

describe('wire: services', () => {
  const services = {
    'tledger.v1.Ledger': ledgerService,
    'tledger.v1.Admin': adminService,
    'tledger.v1.Peer': peerService,
    [MESSAGING_SERVICE]: messagingService,
  };
  for (const [name, service] of Object.entries(services)) {
    it(`defines every method of ${name} with its path`, () => {
      const inProto = Object.values(serviceOf(name)).map(({ path, requestStream, responseStream }) => ({
        path,
        requestStream,
        responseStream,
      }));
      const defined = Object.values(service).map(({ path, requestStream, responseStream }) => ({
        path,
        requestStream,
        responseStream,
      }));
      expect(defined.sort(byPath)).to.deep.equal(inProto.sort(byPath));
    });
  }

  it('holds the whole package for reflection', () => {
    expect(Object.keys(packageDefinition)).to.include.members(['tledger.v1.Ledger', 'tledger.v1.AppendRequest']);
  });

  it('decodes complete messages: text for 64 bits, null for what is not there', () => {
    const response = { topic: null, created: true };
    expect(codecs.createTopicResponse.decode(codecs.createTopicResponse.encode(response))).to.deep.equal(response);
    const index = { index: '9007199254740993' };
    expect(codecs.readIndexResponse.decode(codecs.readIndexResponse.encode(index))).to.deep.equal(index);
    expect(codecs.createTopicRequest.decode(Buffer.alloc(0))).to.deep.equal({ topic: '', queues: 0, messageType: '' });
  });

  it('lets a handler refuse malformed protobuf as INVALID_ARGUMENT', async () => {
    const server = new Server();
    server.addService(ledgerService, {
      metadata: (call, callback) => {
        try {
          wellFormed(call.request);
          callback(new Error('was well-formed'));
        } catch (error) {
          callback(statusOf(error));
        }
      },
    } satisfies Pick<LedgerHandlers, 'metadata'>);
    const port = await bindWithWideWindows(server, '127.0.0.1:0', ServerCredentials.createInsecure(), () => {});
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), clientChannelOptions);
    try {
      const error = await new Promise<ServiceError | null>((resolve) => {
        client.makeUnaryRequest(
          ledgerService.metadata.path,
          (bytes: Buffer) => bytes,
          (bytes) => bytes,
          Buffer.from([0x0a, 0xff]),
          (failure) => resolve(failure),
        );
      });
      expect(error?.code).to.equal(status.INVALID_ARGUMENT);
      expect(errorOf(error).message).to.match(/not well-formed/);
    } finally {
      client.close();
      server.forceShutdown();
    }
  });
});

describe('wire: channel options', () => {
  it('bounds what grpc-js leaves open (VERIFICATION 2.J)', () => {
    for (const options of [clientPortOptions, peerPortOptions]) {
      expect(options['grpc.max_receive_message_length']).to.be.within(4 * 2 ** 20, 8 * 2 ** 20);
      expect(options['grpc.keepalive_time_ms']).to.equal(10_000);
      expect(options['grpc.keepalive_timeout_ms']).to.equal(5_000);
      expect(options['grpc-node.max_session_memory']).to.be.at.most(64);
    }
    expect(peerPortOptions['grpc.max_concurrent_streams']).to.equal(128);
    // RocketMQ's ordered consumers have a poll waiting for each queue.
    expect(clientPortOptions['grpc.max_concurrent_streams']).to.equal(1_024);
    expect(clientPortOptions['grpc.max_connection_idle_ms']).to.equal(300_000);
    expect(clientChannelOptions['grpc.initial_reconnect_backoff_ms']).to.equal(100);
    expect(clientChannelOptions['grpc.max_reconnect_backoff_ms']).to.equal(1_000);
    expect(clientChannelOptions['grpc.dns_min_time_between_resolutions_ms']).to.equal(1_000);
    expect(clientChannelOptions['grpc-node.flow_control_window']).to.equal(8 * 2 ** 20);
  });
});
