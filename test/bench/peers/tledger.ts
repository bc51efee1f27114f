// TLedger itself: its built program, loaded by `tledger bench` in a process of its own, single calls by h2load.
import type { BenchReport } from '../../../src/bench/load.ts';
import { TLedgerClient } from '../../../src/client/index.ts';
import { encodeMessageRecord } from '../../../src/format/message.ts';
import type { LocalCluster } from '../../../src/server/local_cluster.ts';
import { ledgerService } from '../../../src/wire/services.ts';
import { builtCluster } from '../built.ts';
import { tledgerBench } from '../tledger_bench.ts';
import { type Contender, type Measured, measuredOf, type Shape, systems } from './contender.ts';
import { h2load } from './h2load.ts';

const TOPIC = 'bench';
const QUEUES = 4;
/**
 * Log that each node keeps, as little as whole segments allow: the others' stores are emptied after each run, and
 * page cache that a virtual machine never touched before costs several times as much as what was used already.
 */
const LOG = { retentionBytes: '512MiB', segmentSizeBytes: '256MiB' };
/** What a consumer is to read is stored first, for so long. */
const FILL_MS = 2_000;

export class TLedger implements Contender {
  readonly name = systems.tledger;
  readonly flush: string;
  readonly #policy: 'sync' | 'async';
  #directory = '';
  #cluster: LocalCluster | undefined;
  #fills = 0;

  constructor(policy: 'sync' | 'async') {
    this.#policy = policy;
    this.flush = policy === 'sync' ? 'fdatasync before the answer' : 'written, fdatasync later';
  }

  get pids(): readonly number[] {
    const cluster = this.#cluster;
    return cluster?.members.map(({ nodeId }) => cluster.pidOf(nodeId)) ?? [];
  }

  programsFor(shapes: readonly Shape[]): Readonly<Record<string, string>> {
    return shapes.some(({ kind }) => kind === 'unary' || kind === 'spread') ? { h2load: 'nghttp2-client' } : {};
  }

  async start(directory: string): Promise<void> {
    this.#directory = directory;
    const settings = { flush: this.#policy, ...LOG };
    this.#cluster = await (await builtCluster()).start({ settings });
    await this.#cluster.waitForLeader();
    const client = new TLedgerClient({ endpoints: this.#cluster.endpoints });
    await client.admin.createTopic(TOPIC, { queues: QUEUES });
    await client.close();
  }

  has(): boolean {
    return true;
  }

  async run(shape: Shape): Promise<Measured> {
    switch (shape.kind) {
      case 'singles':
      case 'frames':
        return this.#append(shape);
      case 'unary':
        return this.#unary(shape, [await this.#leader()]);
      case 'spread':
        return this.#unary(shape, this.#cluster!.endpoints);
      case 'consume':
        return this.#consume(shape);
      case 'end-to-end':
        return this.#endToEnd(shape);
    }
  }

  /** It does so by itself; see `LOG`. */
  async empty(): Promise<void> {}

  async stop(): Promise<void> {
    await this.#cluster?.stop();
    this.#cluster = undefined;
  }

  async #append(shape: Shape): Promise<Measured> {
    const { inFlight, ratePerSecond, batch, sizeBytes } = shape;
    const loop = ratePerSecond === undefined ? ['--in-flight', inFlight] : ['--rate', ratePerSecond];
    const report = await this.#bench(shape, 'append', ...loop, '--batch', batch, '--size', sizeBytes);
    return measuredOf(report);
  }

  /** A topic of its own for each run, so that all of it has just been stored. */
  async #consume(shape: Shape): Promise<Measured> {
    const topic = ['--topic', `consume-${++this.#fills}`];
    const { batch, sizeBytes } = shape;
    const fill = { ...shape, warmUpMs: 0, durationMs: FILL_MS };
    await this.#bench(fill, 'append', '--batch', batch, '--size', sizeBytes, ...topic);
    return measuredOf(await this.#bench(shape, 'consume', ...topic));
  }

  async #endToEnd(shape: Shape): Promise<Measured> {
    const load = ['--rate', shape.ratePerSecond!, '--size', shape.sizeBytes, '--topic', 'end-to-end'];
    const report = await this.#bench(shape, 'end-to-end', ...load);
    return { ...measuredOf(report), p50Ms: report.deliveryMs!.p50, p99Ms: report.deliveryMs!.p99 };
  }

  #bench({ warmUpMs, durationMs }: Shape, ...load: (string | number)[]): Promise<BenchReport> {
    const times = ['--warm-up', `${warmUpMs}ms`, '--duration', `${durationMs}ms`];
    return tledgerBench(this.#cluster!.endpoints, [...load, ...times]);
  }

  async #unary(shape: Shape, addresses: readonly string[]): Promise<Measured> {
    const body = Buffer.alloc(shape.sizeBytes, 'x');
    const records = encodeMessageRecord({ topic: TOPIC, queueId: 0, body, bornAtMs: Date.now() });
    const request = { topic: TOPIC, queue: 0, producerId: '', sequence: 0, records };
    const { path, requestSerialize } = ledgerService.append;
    const before = await this.#stored();
    const found = await h2load(addresses, path, requestSerialize(request), shape, this.#directory);
    const stored = (await this.#stored()) - before;
    if (stored < found.succeeded) throw new Error(`TLedger answered ${found.succeeded} calls and stored ${stored}`);
    return found;
  }

  async #leader(): Promise<string> {
    const { nodeId } = await this.#cluster!.waitForLeader();
    return this.#cluster!.members.find((member) => member.nodeId === nodeId)!.clientAddress;
  }

  async #stored(): Promise<number> {
    const client = new TLedgerClient({ endpoints: this.#cluster!.endpoints });
    const { ranges } = await client.admin.topic(TOPIC);
    await client.close();
    return ranges.reduce((sum, { maxOffset }) => sum + Number(maxOffset), 0);
  }
}
