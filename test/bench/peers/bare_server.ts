// The bare gRPC server that marks the ceiling of single calls on a machine: one process with what TLedger's servers are made
// of, which answers every call at once with nothing, without a log and without replicas.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { freePorts } from '../../../src/server/ports.ts';
import { type Contender, type Measured, Processes, type Shape, systems, tryUntil } from './contender.ts';
import { h2load } from './h2load.ts';

const program = fileURLToPath(new URL('bare_server_main.ts', import.meta.url));
const loader = createRequire(import.meta.url).resolve('tsx');
const PATH = '/bench.Bare/Append';
const START_MS = 10_000;
const CALL_MS = 1_000;

export class BareServer implements Contender {
  readonly name = systems.bareServer;
  readonly flush = 'at once, nothing is stored';
  readonly #processes = new Processes();
  #directory = '';
  #address = '';

  get pids(): readonly number[] {
    return this.#processes.pids;
  }

  programsFor(): Readonly<Record<string, string>> {
    return { h2load: 'nghttp2-client' };
  }

  async start(directory: string): Promise<void> {
    const [port] = await freePorts(1);
    this.#directory = directory;
    this.#address = `127.0.0.1:${port}`;
    this.#processes.start('node', ['--import', loader, program, this.#address, PATH], directory, 'server');
    await tryUntil(START_MS, () => this.#call());
  }

  has({ kind }: Shape): boolean {
    return kind === 'unary';
  }

  async run(shape: Shape): Promise<Measured> {
    this.#processes.assertRunning();
    return h2load([this.#address], PATH, Buffer.alloc(shape.sizeBytes, 'x'), shape, this.#directory);
  }

  async empty(): Promise<void> {}

  async stop(): Promise<void> {
    await this.#processes.stop();
  }

  /** h2load does not see whether a call is answered as gRPC answers. @throws Error when it is not. */
  async #call(): Promise<void> {
    this.#processes.assertRunning();
    const client = new Client(this.#address, credentials.createInsecure());
    const asItIs = (bytes: Buffer): Buffer => bytes;
    const deadline = Date.now() + CALL_MS;
    try {
      await new Promise<void>((resolve, reject) => {
        client.makeUnaryRequest(PATH, asItIs, asItIs, Buffer.from('x'), { deadline }, (error) => {
          if (error === null) resolve();
          else reject(error);
        });
      });
    } finally {
      client.close();
    }
  }
}
