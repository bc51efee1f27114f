// tledger up: a group of local processes for trying things out, and what becomes of it, a line an event.
import { basename, relative } from 'node:path';
import type { Command } from 'commander';
import type { ClusterEvent, LocalCluster } from '../../server/local_cluster.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import type { OutputFormat } from '../output.ts';
import { integer } from '../parsing.ts';

interface Options {
  readonly nodes: number;
  readonly dataDir: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly restart?: boolean;
}

const CLIENT_PORT = 8081;
const PEER_PORT = 40_911;
const PORT_MAX = 65_535 - 9;

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  program
    .command('up')
    .description('start a group of nodes on this machine; Ctrl-C stops them, their data stays')
    .option('--nodes <n>', 'how many', integer(1, 9), 3)
    .option('--data-dir <directory>', 'the nodes keep their data in n0, n1 … below it', './data')
    .option(
      '--client-port <port>',
      "the first node's port for clients; the others' follow",
      integer(1, PORT_MAX),
      CLIENT_PORT,
    )
    .option(
      '--peer-port <port>',
      "the first node's port for the other nodes; the others' follow",
      integer(1, PORT_MAX),
      PEER_PORT,
    )
    .option('--restart', 'start a node again when it dies')
    .addHelpText(
      'after',
      `
Settings of all nodes may be given in the environment (TLEDGER_FLUSH=async); their logs are <data-dir>/<node>/node.log.

Examples:
  tledger up
  tledger up --restart --data-dir /tmp/try
  tledger up --format json                  one JSON document an event`,
    )
    .action(async (options: Options, command: Command) => {
      const teller = new Teller(context, globalOptionsOf(command).format, options);
      await run(options, context, teller);
    });
}

async function run(options: Options, context: CliContext, teller: Teller): Promise<void> {
  const interrupted = context.interrupted();
  const { LocalCluster } = await import('../../server/local_cluster.ts');
  let allDead: () => void = () => {};
  const deserted = new Promise<void>((resolve) => {
    allDead = resolve;
  });
  let cluster: LocalCluster | undefined;
  cluster = await LocalCluster.start({
    nodes: options.nodes,
    dataDir: options.dataDir,
    ports: { client: options.clientPort, peer: options.peerPort },
    restart: options.restart ?? false,
    onEvent: (event) => {
      teller.event(event, cluster);
      const isLast = cluster?.members.every((member) => !cluster!.isRunning(member.nodeId)) === true;
      if (event.kind === 'exited' && isLast && options.restart !== true) allDead();
    },
  });
  teller.up(cluster);
  const ended = new Promise<void>((resolve) => {
    if (interrupted.aborted) resolve();
    interrupted.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([ended, deserted]);
  teller.stopping(cluster);
  await cluster.stop();
  if (!interrupted.aborted) throw new QuietExit(exitCodes.failed);
}

/** How this program is run from where the user stands: by its name if it is installed, by its path otherwise. */
function programName(): string {
  const script = process.argv[1] ?? '';
  if (basename(script) === 'tledger') return 'tledger';
  const path = relative(process.cwd(), script);
  return `${path.endsWith('.ts') ? 'npx tsx' : 'node'} ${path.startsWith('..') ? script : path}`;
}

/** Says what happens: lines for people, documents for programs. */
class Teller {
  readonly #context: CliContext;
  readonly #format: OutputFormat;
  readonly #options: Options;
  readonly #startMs = performance.now();
  #ledBefore = false;

  constructor(context: CliContext, format: OutputFormat, options: Options) {
    this.#context = context;
    this.#format = format;
    this.#options = options;
  }

  /** All nodes run. */
  up(cluster: LocalCluster): void {
    const { members, dataDir } = cluster;
    const nodes = members.map(({ nodeId, clientAddress, peerAddress }) => ({
      nodeId,
      clientAddress,
      peerAddress,
      pid: cluster.isRunning(nodeId) ? cluster.pidOf(nodeId) : null,
    }));
    const lines = nodes.map(
      (node) => `  ${node.nodeId}  clients ${node.clientAddress}  peers ${node.peerAddress}  pid ${node.pid}`,
    );
    this.#say({ kind: 'up', dataDir, nodes }, [`${members.length} nodes run, data in ${dataDir}`, ...lines]);
  }

  event(event: ClusterEvent, cluster: LocalCluster | undefined): void {
    switch (event.kind) {
      case 'started':
        if (cluster !== undefined) this.#say(event, [`${event.nodeId} runs again (pid ${event.pid})`]);
        break;
      case 'exited': {
        const how = event.signal === null ? `exited with code ${event.code}` : `was killed (${event.signal})`;
        const running = cluster?.members.filter((member) => cluster.isRunning(member.nodeId)).length ?? 0;
        const total = cluster?.members.length ?? this.#options.nodes;
        const lines = [`${event.nodeId} ${how}; ${running} of ${total} nodes run`];
        if (running > 0 && running * 2 <= total) lines.push(this.#noMajority());
        this.#say(event, lines);
        break;
      }
      case 'leader':
        this.#leads(event);
        break;
      case 'leaderless':
        this.#say(event, ['it was the leader: waiting for another one']);
        break;
      case 'restart-failed':
        this.#say(event, [`${event.nodeId} could not be restarted, trying again: ${event.reason}`]);
        break;
    }
  }

  #noMajority(): string {
    const how =
      this.#options.restart === true
        ? 'they are being restarted'
        : 'start again to bring them back (--restart does it by itself)';
    return `no majority: writes are refused; ${how}`;
  }

  stopping(cluster: LocalCluster): void {
    const running = cluster.members.some((member) => cluster.isRunning(member.nodeId));
    this.#say({ kind: 'stopping' }, [
      running ? 'stopping' : `no node runs any more; see ${cluster.dataDir}/*/node.log`,
    ]);
  }

  #leads(event: Extract<ClusterEvent, { kind: 'leader' }>): void {
    const lines = [`${event.nodeId} leads (term ${event.term}, ${event.clientAddress})`];
    if (!this.#ledBefore) {
      this.#ledBefore = true;
      lines[0] += `, ${((performance.now() - this.#startMs) / 1000).toFixed(1)} s after the start`;
      const { clientPort, nodes } = this.#options;
      const ports = Array.from({ length: nodes }, (_, at) => `127.0.0.1:${clientPort + at}`).join(',');
      const endpoints = clientPort === CLIENT_PORT && nodes === 3 ? '' : ` --endpoints ${ports}`;
      const program = programName();
      lines.push(
        '',
        'Try in another terminal:',
        `  ${program} topic create orders${endpoints}`,
        `  ${program} message send --topic orders "hello"${endpoints}`,
        `  ${program} cluster status${endpoints}`,
        '',
        'Ctrl-C stops the nodes and keeps the data.',
      );
    }
    this.#say(event, lines);
  }

  #say(document: object, lines: readonly string[]): void {
    const text = this.#format === 'json' ? JSON.stringify(document) : lines.join('\n');
    this.#context.stdout.write(`${text}\n`);
  }
}
