// Real processes whose settings say who should lead, and how a leader makes sure that it does.
import { expect } from 'chai';
import { TLedgerClient } from '../../src/client/index.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { until } from '../chaos/pause.ts';

const WITHIN_MS = 60_000;

describe('a group that prefers a leader, and reads by lease', function () {
  this.timeout(300_000);

  it('is led by the preferred node whenever it is there', async () => {
    const settings = { segmentSizeBytes: '8MiB', preferredLeaders: 'n2,n1', reads: 'lease' };
    const cluster = await LocalCluster.start({ settings });
    const client = new TLedgerClient({ endpoints: cluster.endpoints });
    const isLedBy = (nodeId: string) => until(() => cluster.leader?.nodeId === nodeId, WITHIN_MS);
    try {
      expect(await isLedBy('n2'), 'n2 leads').to.equal(true);
      await client.admin.createTopic('orders', { queues: 1 });
      const producer = client.producer();
      for (let at = 0; at < 20; at++) {
        await producer.send({ topic: 'orders', body: Buffer.from(String(at)) });
        // What is current is what was just acknowledged, whichever node is asked.
        const { ranges } = await client.admin.topic('orders');
        expect(ranges[0]!.maxOffset).to.equal(String(at + 1));
      }
      await cluster.kill('n2');
      expect(await isLedBy('n1'), 'then n1').to.equal(true);
      await producer.send({ topic: 'orders', body: Buffer.from('20') });
      await cluster.restart('n2');
      expect(await isLedBy('n2'), 'n2 again when it has caught up').to.equal(true);
      const bodies: string[] = [];
      for await (const { body } of client.consume({ topic: 'orders', untilEnd: true })) bodies.push(String(body));
      expect(bodies).to.deep.equal(Array.from({ length: 21 }, (_, at) => String(at)));
    } finally {
      await client.close();
      await cluster.stop();
    }
  });
});
