// etcd: puts of one key at the leader. It has no client that gathers, so that each message is a call of its own.
import { join } from 'node:path';
import { freePorts } from '../../../src/server/ports.ts';
import { writeVarint } from '../../../src/wire/protobuf.ts';
import {
  type Contender,
  EMPTY_MS,
  type Measured,
  NODES,
  Processes,
  type Shape,
  systems,
  tryUntil,
} from './contender.ts';
import { h2load } from './h2load.ts';

const START_MS = 30_000;
const ANSWER_MS = 10_000;
const QUOTA_BYTES = 8 * 1024 ** 3;
const KEY = 'bench';
/** Of a length below 2^35. */
const LENGTH_BYTES_MAX = 5;

interface Status {
  readonly header: { readonly member_id: string; readonly revision: string };
  readonly leader?: string;
}

export class Etcd implements Contender {
  readonly name = systems.etcd;
  readonly flush = 'fsync before the answer';
  readonly #processes = new Processes();
  #directory = '';
  #clients: string[] = [];
  #leader = '';

  get pids(): readonly number[] {
    return this.#processes.pids;
  }

  programsFor(): Readonly<Record<string, string>> {
    return { etcd: 'etcd-server', h2load: 'nghttp2-client' };
  }

  async start(directory: string): Promise<void> {
    this.#directory = directory;
    const ports = await freePorts(2 * NODES);
    this.#clients = ports.slice(0, NODES).map((port) => `127.0.0.1:${port}`);
    const peers = ports.slice(NODES).map((port) => `http://127.0.0.1:${port}`);
    const cluster = peers.map((peer, at) => `n${at}=${peer}`).join(',');
    for (let at = 0; at < NODES; at++) {
      const client = `http://${this.#clients[at]}`;
      const args = [
        ...['--name', `n${at}`, '--data-dir', join(directory, `n${at}`)],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peers[at]!, '--initial-advertise-peer-urls', peers[at]!],
        ...['--initial-cluster', cluster, '--initial-cluster-state', 'new', '--initial-cluster-token', 'bench'],
        ...['--quota-backend-bytes', String(QUOTA_BYTES), '--log-level', 'error'],
      ];
      this.#processes.start('etcd', args, directory, `n${at}`);
    }
    this.#leader = await tryUntil(START_MS, () => this.#findLeader());
  }

  has({ kind }: Shape): boolean {
    return kind === 'singles' || kind === 'unary';
  }

  async run(shape: Shape): Promise<Measured> {
    this.#leader = await this.#findLeader();
    const before = await this.#revision();
    const path = '/etcdserverpb.KV/Put';
    const found = await h2load([this.#leader], path, putRequest(shape.sizeBytes), shape, this.#directory);
    const stored = (await this.#revision()) - before;
    if (stored < found.succeeded) throw new Error(`etcd answered ${found.succeeded} puts and made ${stored}`);
    return found;
  }

  async empty(): Promise<void> {
    await tryUntil(EMPTY_MS, async () => {
      this.#leader = await this.#findLeader();
      await compact(this.#leader, await this.#revision());
    });
  }

  stop(): Promise<void> {
    return this.#processes.stop();
  }

  async #findLeader(): Promise<string> {
    this.#processes.assertRunning();
    for (const client of this.#clients) {
      const { header, leader } = await status(client);
      if (leader === header.member_id) return client;
    }
    throw new Error('there is no leader');
  }

  async #revision(): Promise<number> {
    return Number((await status(this.#leader)).header.revision);
  }
}

/** Forgets all but the last value of each key. An answer that was lost is no reason to fail when it is asked again. */
async function compact(client: string, revision: number): Promise<void> {
  try {
    await ask(client, 'kv/compaction', { revision, physical: true });
  } catch (error) {
    if (!String(error).includes('has been compacted')) throw error;
  }
}

async function status(client: string): Promise<Status> {
  return (await ask(client, 'maintenance/status', {})) as Status;
}

/**
 * A request of etcd's gateway (etcd.io/docs/v3.5/dev-guide/api_grpc_gateway).
 * @throws Error when it is refused, or not answered.
 */
async function ask(client: string, path: string, request: object): Promise<unknown> {
  const response = await fetch(`http://${client}/v3/${path}`, {
    ...{ method: 'POST', body: JSON.stringify(request), signal: AbortSignal.timeout(ANSWER_MS) },
  });
  if (!response.ok) throw new Error(`${client} answered ${path} with ${response.status}: ${await response.text()}`);
  return response.json();
}

/** `PutRequest` (etcd's rpc.proto): key is field 1, value field 2. */
function putRequest(sizeBytes: number): Buffer {
  return Buffer.concat([field(1, Buffer.from(KEY)), field(2, Buffer.alloc(sizeBytes, 'x'))]);
}

/** A field of protobuf: tag, length, bytes. */
function field(number: number, bytes: Buffer): Buffer {
  const head = Buffer.from([(number << 3) | 2, ...new Array<number>(LENGTH_BYTES_MAX).fill(0)]);
  return Buffer.concat([head.subarray(0, writeVarint(head, 1, bytes.length)), bytes]);
}
