// Nodes are stopped one after the other, as a rolling restart does it, under the official client: only whoever dials the node
// that is down notices, nothing is lost, and no node is kept from its end by those who wait on it.
import { expect } from 'chai';
import type { Producer } from 'rocketmq-client-nodejs';
import { pause } from '../chaos/pause.ts';
import { WorkingTime } from '../chaos/working_time.ts';
import { ConsumeResult, type MessageView, Stage, until } from '../compat/clients.ts';

/** From SIGTERM until the process is gone, on a machine that does not stall. */
const STOP_MS_MAX = 5_000;
/** What a consumer whose node went away had taken is invisible for so long. */
const DRAIN_MS = 70_000;
/** From a node's start until its clients have found it again. */
const BACK_MS = 90_000;

/** Sends all the time, and tells sends that failed apart: those by way of a node that is down cannot be helped. */
class Load {
  readonly sent = new Set<string>();
  readonly failed: unknown[] = [];
  /** The node that is being restarted, until a send by way of it succeeds again. */
  down = -1;
  isBack = false;
  isOver = false;

  async run(producer: Producer, topic: string, node: number): Promise<void> {
    for (let number = 0; !this.isOver; number++) {
      const body = `${node}-${number}`;
      const wasDown = this.down === node;
      try {
        await producer.send({ topic, body: Buffer.from(body) });
        this.sent.add(body);
        if (this.down === node) this.isBack = true;
      } catch (error) {
        if (!wasDown && this.down !== node) this.failed.push(error);
      }
      await pause(20);
    }
  }
}

describe('a rolling restart under the official client', () => {
  it('fails no send by way of the other nodes, loses nothing, and each stop is quick', async function () {
    this.timeout(600_000);
    const stage = await Stage.start();
    try {
      const nodes = stage.cluster.members.map(({ nodeId }) => nodeId);
      const topic = await stage.topic('normal');
      const silent = await stage.topic('normal');
      const seen = new Set<string>();
      const consume = async ({ body }: MessageView): Promise<ConsumeResult> => {
        seen.add(body.toString());
        return ConsumeResult.SUCCESS;
      };
      const consumerGroup = await stage.group();
      for (const at of nodes.keys()) {
        // Of a topic where nothing comes, so that polls wait all the time.
        for (const polled of [topic, silent]) {
          await stage.push(polled, consume, { consumerGroup, endpoints: stage.endpoint(at) });
        }
      }
      const load = new Load();
      const producers = await Promise.all(
        nodes.map((_, at) => stage.producer({ topic, endpoints: stage.endpoint(at) })),
      );
      const loads = producers.map((producer, at) => load.run(producer, topic, at));
      const stopMs: number[] = [];
      for (const [at, nodeId] of nodes.entries()) {
        await pause(2_000);
        load.down = at;
        const time = new WorkingTime();
        await stage.cluster.kill(nodeId, 'SIGTERM');
        stopMs.push(Math.round(time.end()));
        await stage.cluster.restart(nodeId);
        load.isBack = false;
        // The client dials again after a while.
        await until('sends by way of the node succeed again', () => load.isBack, BACK_MS);
        load.down = -1;
      }
      load.isOver = true;
      await Promise.all(loads);
      expect(load.failed).to.deep.equal([]);
      expect(load.sent.size).to.be.greaterThan(0);
      for (const ms of stopMs) expect(ms, `stops took ${stopMs} ms`).to.be.below(STOP_MS_MAX);
      await until('everything sent is consumed', () => [...load.sent].every((body) => seen.has(body)), DRAIN_MS);
    } finally {
      await stage.stop();
    }
  });
});
