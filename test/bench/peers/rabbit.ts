// RabbitMQ: one quorum queue with a replica on every node, published to with confirms by amqplib at the node of its leader.
// All that it is told lies in environment variables and files of its directory, so that an installed broker, its data and
// its port mapper (epmd) are not touched.
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { freePorts } from '../../../src/server/ports.ts';
import {
  type Contender,
  driveSingles,
  type Measured,
  measuredOf,
  NODES,
  Processes,
  pathOf,
  type Shape,
  systems,
  tryUntil,
} from './contender.ts';

const START_MS = 60_000;
const QUEUE = 'bench';
/** Erlang's, for the distribution between the nodes; it guards nothing that outlives the run. */
const COOKIE = 'bench';
const ON_LOOPBACK = '-kernel inet_dist_use_interface {127,0,0,1}';

interface QueueInfo {
  readonly name: string;
  readonly online: readonly string[];
  readonly leader: string;
}

/** Ports of the port mapper, of the tool rabbitmqctl, of the distribution and of the clients. */
interface Ports {
  readonly epmd: number;
  readonly tool: number;
  readonly distribution: readonly number[];
  readonly clients: readonly number[];
}

export class Rabbit implements Contender {
  readonly name = systems.rabbitmq;
  readonly flush = 'fsync of its log before the confirm';
  readonly #processes = new Processes();
  #connection: ChannelModel | undefined;
  #channel: ConfirmChannel | undefined;

  get pids(): readonly number[] {
    return this.#processes.pids;
  }

  programsFor(): Readonly<Record<string, string>> {
    return { 'rabbitmq-server': 'rabbitmq-server', epmd: 'erlang-base' };
  }

  async start(directory: string): Promise<void> {
    const [epmd, tool, ...rest] = await freePorts(2 + 2 * NODES);
    const ports = { epmd: epmd!, tool: tool!, distribution: rest.slice(0, NODES), clients: rest.slice(NODES) };
    writeFileSync(join(directory, '.erlang.cookie'), COOKIE, { mode: 0o400 });
    const common = environmentOf(directory, ports);
    this.#processes.start('epmd', ['-port', String(epmd), '-address', '127.0.0.1'], directory, 'epmd');
    for (let at = 0; at < NODES; at++) {
      const env = { ...common, ...writeNode(directory, at, ports) };
      this.#processes.start('rabbitmq-server', [], directory, `n${at}`, env);
    }
    const control = async (...args: string[]): Promise<string> => {
      this.#processes.assertRunning();
      const options = { env: { ...process.env, ...common }, timeout: START_MS };
      return (await promisify(execFile)(pathOf('rabbitmqctl')!, ['-q', '-n', nodeName(0), ...args], options)).stdout;
    };
    await tryUntil(START_MS, () => control('await_startup'));
    await tryUntil(START_MS, () => control('await_online_nodes', String(NODES)));
    this.#connection = await connect(`amqp://guest:guest@127.0.0.1:${ports.clients[0]}`, { noDelay: true });
    this.#channel = await this.#connection.createConfirmChannel();
    // Whatever is asked of them next fails, and says why.
    for (const one of [this.#connection, this.#channel])
      one.on('error', (error: Error) => console.error(error.message));
    await this.#channel.assertQueue(QUEUE, {
      durable: true,
      arguments: { 'x-queue-type': 'quorum', 'x-quorum-initial-group-size': NODES },
    });
    await tryUntil(START_MS, async () => {
      const queues = JSON.parse(await control('list_queues', '--formatter', 'json', 'name', 'online', 'leader'));
      assertReplicated(queues as readonly QueueInfo[]);
    });
  }

  has({ kind }: Shape): boolean {
    return kind === 'singles';
  }

  async run(shape: Shape): Promise<Measured> {
    this.#processes.assertRunning();
    const channel = this.#channel!;
    const body = Buffer.alloc(shape.sizeBytes, 'x');
    const figures = await driveSingles(shape, (answered) => {
      channel.publish('', QUEUE, body, { persistent: true }, (error: unknown) => answered(error ?? null));
    });
    const { messageCount } = await channel.checkQueue(QUEUE);
    if (messageCount < figures.messages) throw new Error('RabbitMQ confirmed more than it stored');
    return measuredOf(figures);
  }

  async empty(): Promise<void> {
    await this.#channel!.purgeQueue(QUEUE);
  }

  async stop(): Promise<void> {
    await this.#connection?.close().catch(() => {});
    await this.#processes.stop();
  }
}

const nodeName = (at: number): string => `n${at}@localhost`;

/** @throws Error unless all nodes have a replica, and the one that clients talk to leads. */
function assertReplicated(queues: readonly QueueInfo[]): void {
  const queue = queues.find(({ name }) => name === QUEUE);
  if (queue?.online.length !== NODES) throw new Error(`the queue has ${queue?.online.length ?? 0} replicas`);
  if (queue.leader !== nodeName(0)) throw new Error(`${queue.leader} leads the queue`);
}

/** Of nodes and tools. */
function environmentOf(directory: string, { epmd, tool }: Ports): Record<string, string> {
  const none = join(directory, 'rabbitmq-env.conf');
  writeFileSync(none, '');
  return {
    HOME: directory,
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_CONF_ENV_FILE: none,
    RABBITMQ_CTL_DIST_PORT_MIN: String(tool),
    RABBITMQ_CTL_DIST_PORT_MAX: String(tool),
    RABBITMQ_CTL_ERL_ARGS: ON_LOOPBACK,
  };
}

/** Writes what a node reads. @returns its own part of the environment. */
function writeNode(directory: string, at: number, { distribution, clients }: Ports): Record<string, string> {
  const own = join(directory, `n${at}`);
  mkdirSync(own, { recursive: true });
  const members = Array.from({ length: NODES }, (_, member) => {
    return `cluster_formation.classic_config.nodes.${member + 1} = ${nodeName(member)}`;
  });
  const lines = [
    `listeners.tcp.1 = 127.0.0.1:${clients[at]}`,
    'cluster_formation.peer_discovery_backend = classic_config',
    ...members,
    'queue_leader_locator = client-local',
    'log.file.level = warning',
  ];
  writeFileSync(join(own, 'rabbitmq.conf'), `${lines.join('\n')}\n`);
  writeFileSync(join(own, 'enabled_plugins'), '[].\n');
  return {
    RABBITMQ_NODENAME: nodeName(at),
    RABBITMQ_DIST_PORT: String(distribution[at]),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: ON_LOOPBACK,
    RABBITMQ_MNESIA_BASE: join(own, 'mnesia'),
    RABBITMQ_LOG_BASE: join(own, 'log'),
    RABBITMQ_GENERATED_CONFIG_DIR: join(own, 'config'),
    RABBITMQ_SCHEMA_DIR: join(own, 'schema'),
    RABBITMQ_CONFIG_FILE: join(own, 'rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(own, 'advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(own, 'enabled_plugins'),
    RABBITMQ_PID_FILE: join(own, 'pid'),
    // The start script becomes the server instead of watching it: the process that is ended is the server.
    RUNNING_UNDER_SYSTEMD: 'true',
  };
}
