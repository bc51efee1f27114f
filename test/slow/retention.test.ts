// Real processes that delete segments under load: whoever falls behind the cut is told to move on, and nothing else.
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import type { TLedgerError } from '../../src/base/errors.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { pause, until } from '../chaos/pause.ts';
import { verifyReplicas } from '../chaos/replicas.ts';

const TOPIC = 'orders';
const MESSAGES = 600;
const BODY_BYTES = 100_000;
/** Either names the offset: the answer of a node, and what the client makes of it. */
const MOVED = /(?:can be read from offset|the next valid offset is) (\d+)/;

describe('segments deleted under load', function () {
  this.timeout(300_000);
  let cluster: LocalCluster;
  let client: TLedgerClient;

  afterEach(async () => {
    await client.close();
    await cluster.stop();
  });

  const firstIndexOf = async (nodeId: string): Promise<number> => {
    const { nodes } = await client.admin.clusterStatus();
    return Number(nodes.find((node) => node.nodeId === nodeId)?.firstIndex ?? 0);
  };

  /** Reads with pauses until `isOver`; each refusal has to say where to go on. @returns what was read, and how often it was refused. */
  async function lag(isOver: () => boolean): Promise<{ seen: number[]; moves: number }> {
    const seen: number[] = [];
    let moves = 0;
    for (let offset = 0; !isOver(); await pause(100)) {
      try {
        const { messages, nextOffset } = await client.pull({ topic: TOPIC, queue: 0, offset, countMax: 5 });
        for (const { queueOffset, body } of messages) {
          expect(Number.parseInt(body.toString('latin1', 0, 12), 10)).to.equal(queueOffset);
          seen.push(queueOffset);
        }
        offset = nextOffset;
      } catch (error) {
        const { code, message } = error as TLedgerError;
        expect(code, message).to.equal('OFFSET_OUT_OF_RANGE');
        const next = Number(MOVED.exec(message)?.[1]);
        expect(next, message).to.be.greaterThan(offset);
        offset = next;
        moves++;
      }
    }
    return { seen, moves };
  }

  it('a consumer that lags and a follower that was away hear of nothing but where to go on', async () => {
    cluster = await LocalCluster.start({ settings: { segmentSizeBytes: '8MiB', retentionMs: '500ms' } });
    client = new TLedgerClient({ endpoints: cluster.endpoints, timeoutMs: 20_000 });
    const { nodeId: leader } = await cluster.waitForLeader();
    await client.admin.createTopic(TOPIC, { queues: 1 });
    const away = cluster.members.map(({ nodeId }) => nodeId).find((id) => id !== leader)!;
    let isOver = false;
    const lagging = lag(() => isOver);
    const producer = client.producer();
    const filler = randomBytes(BODY_BYTES);
    for (let number = 0; number < MESSAGES; number++) {
      if (number === 100) await cluster.kill(away);
      const body = Buffer.from(filler);
      body.write(String(number).padStart(12, '0'), 'latin1');
      expect((await producer.send({ topic: TOPIC, queue: 0, body })).queueOffset).to.equal(number);
    }
    const cut = await until(async () => (await firstIndexOf(leader)) > 150, 60_000);
    expect(cut, 'the log is cut behind the follower').to.equal(true);
    await cluster.restart(away);
    const isBack = await until(async () => (await firstIndexOf(away)) > 150, 60_000);
    expect(isBack, 'the follower goes on behind the cut').to.equal(true);
    const { identical, why } = await verifyReplicas(client, 60_000);
    expect(identical, why).to.equal(true);
    isOver = true;
    const { seen, moves } = await lagging;
    expect(moves).to.be.greaterThan(0);
    expect(seen.length).to.be.within(5, MESSAGES - 1);
    expect(seen).to.deep.equal([...seen].sort((a, b) => a - b));
  });
});
