// Reading what was appended long ago, from real nodes: the leader sends the reader to a follower, that one back, and
// nothing is missed on the way.
import { Client, credentials } from '@grpc/grpc-js';
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import type { ConsumeResponse } from '../../src/wire/ledger_messages.ts';
import { ledgerService } from '../../src/wire/services.ts';

const TOPIC = 'old';
const QUEUES = 2;
const FRAMES = 64;
const FRAME_COUNT = 128;
const MIB = 1024 * 1024;

describe('old messages in a real group', function () {
  this.timeout(300_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;

  before(async () => {
    const settings = { segmentSizeBytes: 8 * MIB, tailCacheBytes: MIB, coldReadBacklogBytes: 3 * MIB };
    cluster = await LocalCluster.start({ settings });
    await cluster.waitForLeader();
    client = new TLedgerClient({ endpoints: cluster.endpoints });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    const producer = client.producer();
    for (let frame = 0; frame < FRAMES; frame++) {
      const queueId = frame % QUEUES;
      const records = Array.from({ length: FRAME_COUNT }, (_, at) => {
        const body = Buffer.from(`${frame} ${at}`.padEnd(1_024));
        return encodeMessageRecord({ topic: TOPIC, queueId, body, bornAtMs: 1 });
      });
      await producer.sendRecords(TOPIC, queueId, Buffer.concat(records), FRAME_COUNT);
    }
    await producer.close();
  });

  after(async () => {
    await client.close();
    await cluster.stop();
  });

  /** What a node says to one that reads all there is, and where it sends it along the way. */
  async function adviceOf(address: string): Promise<(string | null)[]> {
    const socket = new Client(address, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = ledgerService.consume;
    const request = { topic: TOPIC, positions: [], start: 'EARLIEST' as const, maxBytes: 0, packed: true };
    const call = socket.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    call.on('error', () => {});
    const advice: (string | null)[] = [];
    let count = 0;
    for await (const response of call as AsyncIterable<ConsumeResponse>) {
      count += response.count;
      const nodeId = response.readFrom?.nodeId ?? null;
      if (advice.at(-1) !== nodeId || advice.length === 0) advice.push(nodeId);
      if (count === FRAMES * FRAME_COUNT) break;
    }
    call.cancel();
    socket.close();
    return advice;
  }

  it('are offered by a follower, until the reader has caught up', async () => {
    const { nodeId: leader } = await cluster.waitForLeader();
    const addressOf = (nodeId: string) => cluster.members.find((one) => one.nodeId === nodeId)!.clientAddress;
    const atLeader = await adviceOf(addressOf(leader));
    expect(atLeader).to.have.length(2);
    const [follower, end] = atLeader;
    expect(follower).to.be.oneOf(['n0', 'n1', 'n2'].filter((nodeId) => nodeId !== leader));
    expect(end, 'who is near the end stays').to.equal(null);
    expect(await adviceOf(addressOf(follower!))).to.deep.equal([null, leader]);
  });

  it('are read once and in order by whoever follows the advice', async () => {
    const found = Array.from({ length: QUEUES }, () => [] as string[]);
    for await (const { queueId, body } of client.consume({ topic: TOPIC, untilEnd: true })) {
      found[queueId]!.push(body.toString().trimEnd());
    }
    const sent = Array.from({ length: QUEUES }, (_, queue) =>
      Array.from({ length: FRAMES }, (_, frame) => frame)
        .filter((frame) => frame % QUEUES === queue)
        .flatMap((frame) => Array.from({ length: FRAME_COUNT }, (_, at) => `${frame} ${at}`)),
    );
    expect(found).to.deep.equal(sent);
  });
});
