// TLedger itself: its built program, loaded by `tledger bench` in a process of its own, single calls by h2load.

import { TLedgerClient } from '../../../src/client/index.ts';
import { encodeMessageRecord } from '../../../src/format/message.ts';
import type { LocalCluster } from '../../../src/server/local_cluster.ts';
import { ledgerService } from '../../../src/wire/services.ts';
import { builtCluster } from '../built.ts';
import { tledgerBench } from '../tledger_bench.ts';
import type { Contender, Measured, Shape } from './contender.ts';
import { h2load } from './h2load.ts';

const TOPIC = 'bench';
const QUEUES = 4;

export class TLedger implements Contender {
  readonly name = 'TLedger';
  readonly flush: string;
  readonly programs = { h2load: 'nghttp2-client' };
  readonly #policy: 'sync' | 'async';
  #directory = '';
  #cluster: LocalCluster | undefined;

  constructor(policy: 'sync' | 'async') {
    this.#policy = policy;
    this.flush = policy === 'sync' ? 'fdatasync before the answer' : 'written, fdatasync later';
  }

  get pids(): readonly number[] {
    const cluster = this.#cluster;
    return cluster?.members.map(({ nodeId }) => cluster.pidOf(nodeId)) ?? [];
  }

  async start(directory: string): Promise<void> {
    this.#directory = directory;
    this.#cluster = await (await builtCluster()).start({ settings: { flush: this.#policy } });
    await this.#cluster.waitForLeader();
    const client = new TLedgerClient({ endpoints: this.#cluster.endpoints });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    await client.close();
  }

  async run(shape: Shape): Promise<Measured | undefined> {
    if (shape.kind === 'unary') return this.#unary(shape);
    const { inFlight, batch, sizeBytes, warmUpMs, durationMs } = shape;
    const load = ['append', '--in-flight', inFlight, '--batch', batch, '--size', sizeBytes, '--topic', TOPIC];
    const times = ['--warm-up', `${warmUpMs}ms`, '--duration', `${durationMs}ms`];
    const { messagesPerSecond, latencyMs } = await tledgerBench(this.#cluster!.endpoints, [...load, ...times]);
    return { messagesPerSecond, p50Ms: latencyMs.p50, p99Ms: latencyMs.p99 };
  }

  async stop(): Promise<void> {
    await this.#cluster?.stop();
  }

  async #unary(shape: Shape): Promise<Measured> {
    const body = Buffer.alloc(shape.sizeBytes, 'x');
    const records = encodeMessageRecord({ topic: TOPIC, queueId: 0, body, bornAtMs: Date.now() });
    const request = { topic: TOPIC, queue: 0, producerId: '', sequence: 0, records };
    const { path, requestSerialize } = ledgerService.append;
    const { nodeId } = await this.#cluster!.waitForLeader();
    const leader = this.#cluster!.members.find((member) => member.nodeId === nodeId)!.clientAddress;
    const before = await this.#stored();
    const found = await h2load(leader, path, requestSerialize(request), shape, this.#directory);
    const stored = (await this.#stored()) - before;
    if (stored < found.succeeded) throw new Error(`TLedger answered ${found.succeeded} calls and stored ${stored}`);
    return found;
  }

  async #stored(): Promise<number> {
    const client = new TLedgerClient({ endpoints: this.#cluster!.endpoints });
    const { ranges } = await client.admin.topic(TOPIC);
    await client.close();
    return ranges.reduce((sum, { maxOffset }) => sum + Number(maxOffset), 0);
  }
}
