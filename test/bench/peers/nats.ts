// NATS JetStream: one stream of three replicas on files, its leader asked directly.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../../../src/server/ports.ts';
import {
  type Contender,
  driveSingles,
  EMPTY_MS,
  type Measured,
  measuredOf,
  NODES,
  Processes,
  type Shape,
  systems,
  tryUntil,
} from './contender.ts';
import { NatsClient } from './nats_client.ts';

const START_MS = 30_000;
const STREAM = 'bench';
const SUBJECT = 'bench.q';

interface StreamInfo {
  readonly cluster?: { readonly leader?: string };
}

export class Nats implements Contender {
  readonly name = systems.nats;
  readonly flush = 'written, no fsync per message';
  readonly #processes = new Processes();
  #ports: number[] = [];
  #client: NatsClient | undefined;

  get pids(): readonly number[] {
    return this.#processes.pids;
  }

  programsFor(): Readonly<Record<string, string>> {
    return { 'nats-server': 'nats-server' };
  }

  async start(directory: string): Promise<void> {
    const ports = await freePorts(2 * NODES);
    this.#ports = ports.slice(0, NODES);
    const routes = ports.slice(NODES).map((port) => `nats://127.0.0.1:${port}`);
    for (let at = 0; at < NODES; at++) {
      const file = join(directory, `n${at}.conf`);
      writeFileSync(
        file,
        [
          `server_name: n${at}`,
          `listen: 127.0.0.1:${this.#ports[at]}`,
          `jetstream { store_dir: "${join(directory, `n${at}`)}", max_file_store: 64GB }`,
          `cluster { name: bench, listen: 127.0.0.1:${ports[NODES + at]}, routes: [${routes.join(', ')}] }`,
        ].join('\n'),
      );
      this.#processes.start('nats-server', ['-c', file], directory, `n${at}`);
    }
    await tryUntil(START_MS, () => this.#makeStream());
    await tryUntil(START_MS, () => this.#atLeader());
  }

  has({ kind }: Shape): boolean {
    return kind === 'singles';
  }

  async run(shape: Shape): Promise<Measured> {
    const client = await this.#atLeader();
    const body = Buffer.alloc(shape.sizeBytes, 'x');
    const figures = await driveSingles(shape, (answered) =>
      client.publish(SUBJECT, body, (payload) => {
        const isStored = payload.includes('"seq":') && !payload.includes('"error"');
        answered(isStored ? null : new Error(`NATS refused: ${payload.toString()}`));
      }),
    );
    return measuredOf(figures);
  }

  async empty(): Promise<void> {
    await tryUntil(EMPTY_MS, async () => (await this.#atLeader()).ask(`$JS.API.STREAM.PURGE.${STREAM}`, {}));
  }

  async stop(): Promise<void> {
    this.#client?.close();
    await this.#processes.stop();
  }

  async #makeStream(): Promise<void> {
    this.#processes.assertRunning();
    const client = await NatsClient.open(this.#ports[0]!);
    try {
      const wish = { name: STREAM, subjects: ['bench.>'], num_replicas: NODES, storage: 'file', retention: 'limits' };
      await client.ask(`$JS.API.STREAM.CREATE.${STREAM}`, wish);
    } finally {
      client.close();
    }
  }

  /** A connection to the node that leads the stream now, which may be another one than before. */
  async #atLeader(): Promise<NatsClient> {
    this.#processes.assertRunning();
    const client = this.#client ?? (await NatsClient.open(this.#ports[0]!));
    this.#client = undefined;
    try {
      const { cluster } = await client.ask<StreamInfo>(`$JS.API.STREAM.INFO.${STREAM}`, {});
      const port = this.#ports[Number(cluster?.leader?.slice(1))];
      if (port === undefined) throw new Error('the stream has no leader');
      if (client.port === port) this.#client = client;
      else this.#client = await NatsClient.open(port);
      return this.#client;
    } finally {
      // One that gave no answer, or is not with the leader, is of no more use.
      if (this.#client !== client) client.close();
    }
  }
}
