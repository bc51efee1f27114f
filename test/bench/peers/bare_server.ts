// The bare gRPC server that marks the ceiling of single calls on a machine: one process with grpc-js, which answers every
// call at once with nothing, without a log and without replicas.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../../src/server/ports.ts';
import { type Contender, type Measured, Processes, type Shape, systems, tryUntil } from './contender.ts';
import { h2load } from './h2load.ts';

const program = fileURLToPath(new URL('bare_server_main.ts', import.meta.url));
const loader = createRequire(import.meta.url).resolve('tsx');
const PATH = '/bench.Bare/Append';
const START_MS = 10_000;

export class BareServer implements Contender {
  readonly name = systems.bareServer;
  readonly flush = 'at once, nothing is stored';
  readonly #processes = new Processes();
  #directory = '';
  #address = '';

  get pids(): readonly number[] {
    return this.#processes.pids;
  }

  programsFor(shapes: readonly Shape[]): Readonly<Record<string, string>> {
    return shapes.some((shape) => this.has(shape)) ? { h2load: 'nghttp2-client' } : {};
  }

  async start(directory: string): Promise<void> {
    const [port] = await freePorts(1);
    this.#directory = directory;
    this.#address = `127.0.0.1:${port}`;
    this.#processes.start('node', ['--import', loader, program, this.#address, PATH], directory, 'server');
    await tryUntil(START_MS, () => this.#reach(port!));
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

  async #reach(port: number): Promise<void> {
    this.#processes.assertRunning();
    const socket = connect({ port, host: '127.0.0.1' });
    await once(socket, 'connect');
    socket.destroy();
  }
}
