// Bad input against a real node: each a precise error, and the node lives on. The limits themselves are held elsewhere
// (test/broker, test/format, test/rpc); here it is the whole way from the socket that counts.
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { TLedgerClient, type TLedgerError } from '../../src/client/index.ts';
import { messageLimits } from '../../src/format/limits.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { foundersGroupId } from '../../src/storage/identity.ts';
import { answeredCode } from '../../src/wire/status.ts';

const TOPIC = 'orders';
const raw = (bytes: Buffer): Buffer => bytes;

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'ok',
    (error: TLedgerError) => error.code,
  );
}

describe('bad input to a real group', function () {
  this.timeout(180_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;
  let socket: Client;
  let peerSocket: Client;

  before(async () => {
    cluster = await LocalCluster.start();
    await cluster.waitForLeader();
    client = new TLedgerClient({ endpoints: cluster.endpoints });
    await client.admin.createTopic(TOPIC, { queues: 2 });
    const { clientAddress, peerAddress } = cluster.members[0]!;
    socket = new Client(clientAddress, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
    peerSocket = new Client(peerAddress, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
  });

  after(async () => {
    socket.close();
    peerSocket.close();
    await client.close();
    await cluster.stop();
  });

  afterEach(async () => {
    const producer = client.producer();
    await producer.send({ topic: TOPIC, body: Buffer.from('still alive') });
    await producer.close();
    for (const { nodeId } of cluster.members) expect(cluster.isRunning(nodeId), nodeId).to.equal(true);
  });

  function call(on: Client, path: string, bytes: Buffer, metadata = new Metadata()): Promise<ServiceError | null> {
    return new Promise((resolve) => {
      on.makeUnaryRequest(path, raw, raw, bytes, metadata, { deadline: Date.now() + 30_000 }, (error) =>
        resolve(error),
      );
    });
  }

  const sends: readonly { readonly what: string; readonly message: object; readonly code: string }[] = [
    { what: 'an unknown topic', message: { topic: 'nobody', body: Buffer.from('x') }, code: 'TOPIC_NOT_FOUND' },
    { what: 'an empty body', message: { topic: TOPIC, body: Buffer.alloc(0) }, code: 'BODY_EMPTY' },
    {
      what: 'a body one byte too large',
      message: { topic: TOPIC, body: Buffer.alloc(messageLimits.bodyBytesMax + 1) },
      code: 'BODY_TOO_LARGE',
    },
    {
      what: 'a topic with path characters',
      message: { topic: '../etc', body: Buffer.from('x') },
      code: 'ILLEGAL_TOPIC',
    },
    { what: 'an illegal tag', message: { topic: TOPIC, body: Buffer.from('x'), tag: 'a|b' }, code: 'ILLEGAL_TAG' },
    {
      what: 'a queue out of range',
      message: { topic: TOPIC, queue: 2, body: Buffer.from('x') },
      code: 'QUEUE_OUT_OF_RANGE',
    },
  ];
  for (const { what, message, code } of sends) {
    it(`${what}: ${code}`, async () => {
      const producer = client.producer();
      expect(await codeOf(producer.send(message as Parameters<typeof producer.send>[0]))).to.equal(code);
      await producer.close();
    });
  }

  it('the largest body there may be is taken and comes back', async () => {
    const producer = client.producer();
    const body = Buffer.alloc(messageLimits.bodyBytesMax, 'm');
    const { queue, queueOffset } = await producer.send({ topic: TOPIC, queue: 1, body });
    const { messages } = await client.pull({ topic: TOPIC, queue, offset: queueOffset!, countMax: 1 });
    expect(messages[0]!.body.equals(body)).to.equal(true);
    await producer.close();
  });

  it('the client is not trusted: the node itself refuses records whose body does not match its checksum', async () => {
    const records = encodeMessageRecord({ topic: TOPIC, queueId: 0, body: Buffer.from('honest'), bornAtMs: 1 });
    records[48 + 88] = 0x58;
    const producer = client.producer();
    expect(await codeOf(producer.sendRecords(TOPIC, 0, records, 1))).to.equal('MESSAGE_CORRUPTED');
    await producer.close();
  });

  it('a topic that is there already with other queues, and an illegal one', async () => {
    expect(await codeOf(client.admin.createTopic(TOPIC, { queues: 7 }))).to.equal('TOPIC_EXISTS');
    expect(await codeOf(client.admin.createTopic('a/b'))).to.equal('ILLEGAL_TOPIC');
    expect(await codeOf(client.admin.createTopic('RMQ_SYS_TRACE_TOPIC'))).to.equal('ILLEGAL_TOPIC');
  });

  it('an offset that no queue holds', async () => {
    expect(await codeOf(client.pull({ topic: TOPIC, queue: 0, offset: 1_000_000 }))).to.equal('OFFSET_OUT_OF_RANGE');
  });

  for (const path of ['/tledger.v1.Ledger/Append', '/tledger.v1.Ledger/Pull', '/tledger.v1.Admin/CreateTopic']) {
    it(`bytes that are no protobuf: ${path}`, async () => {
      const error = await call(socket, path, Buffer.from([0x0f, 0xff, 0xff]));
      expect(answeredCode(error), error?.details).to.equal('INVALID_ARGUMENT');
    });
  }

  it('a message larger than any the node takes', async () => {
    const error = await call(socket, '/tledger.v1.Ledger/Append', Buffer.alloc(32 * 1024 * 1024));
    expect(error?.code).to.equal(status.RESOURCE_EXHAUSTED);
  });

  it('a method that does not exist', async () => {
    expect((await call(socket, '/tledger.v1.Ledger/Nothing', Buffer.alloc(0)))?.code).to.equal(status.UNIMPLEMENTED);
  });

  it('peer calls are not served on the client port', async () => {
    expect((await call(socket, '/tledger.v1.Peer/Vote', Buffer.alloc(0)))?.code).to.equal(status.UNIMPLEMENTED);
  });

  const member = {
    cluster: 'tledger',
    group: 'g0',
    from: 'n1',
    to: 'n0',
    'group-id': foundersGroupId('tledger', 'g0', ['n0', 'n1', 'n2']),
    settings: 'segmentSizeBytes=1073741824;reads=quorum',
  };
  const strangers: readonly { readonly what: string; readonly said: Partial<typeof member>; readonly code: string }[] =
    [
      { what: 'nobody', said: { cluster: '', group: '', from: '', to: '', settings: '' }, code: 'WRONG_CLUSTER' },
      { what: 'a member of another cluster', said: { cluster: 'other' }, code: 'WRONG_CLUSTER' },
      { what: 'a member of another group', said: { group: 'g1' }, code: 'UNKNOWN_GROUP' },
      { what: 'a stranger', said: { from: 'n 9' }, code: 'NOT_A_MEMBER' },
      { what: 'one without a group', said: { 'group-id': '' }, code: 'NOT_A_MEMBER' },
      { what: 'one of a group founded by others', said: { 'group-id': '0123456789abcdef' }, code: 'WRONG_CLUSTER' },
      { what: 'the node itself', said: { from: 'n0' }, code: 'NOT_A_MEMBER' },
      { what: 'a member that means another node', said: { to: 'n2' }, code: 'WRONG_CLUSTER' },
      {
        what: 'a member with other settings',
        said: { settings: 'segmentSizeBytes=1;reads=quorum' },
        code: 'WRONG_CLUSTER',
      },
    ];
  for (const { what, said, code } of strangers) {
    it(`a vote request from ${what}: ${code}, and no election`, async () => {
      const metadata = new Metadata();
      for (const [key, value] of Object.entries({ ...member, ...said })) metadata.set(`tledger-${key}`, value);
      const termBefore = (await cluster.waitForLeader()).term;
      const voteInAHighTerm = Buffer.from([0x08, 0xff, 0xff, 0xff, 0xff, 0x0f]);
      const error = await call(peerSocket, '/tledger.v1.Peer/Vote', voteInAHighTerm, metadata);
      expect(answeredCode(error), error?.details).to.equal(code);
      const { nodes } = await client.admin.clusterStatus();
      expect(Math.max(...nodes.map((node) => Number(node.term)))).to.equal(termBefore);
    });
  }
});
