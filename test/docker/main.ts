// npm run test:docker: the containers as a user runs them, on a real engine. Three nodes come up healthy; the leader's
// container is killed under load; a node gets a new address; everything acknowledged is read back, from outside and from
// inside the network; the nodes stop cleanly. Whatever was started is taken down again.
import { TLedgerClient } from '../../src/client/client.ts';
import { makeBody, readBody } from '../../src/server/demo/body.ts';
import { Comparison, isFaultless } from '../../src/server/demo/comparison.ts';
import { assertPortsFree } from '../../src/server/ports.ts';
import { findBaseImage } from './base_image.ts';
import { type Engine, findEngine, Impossible } from './engine.ts';
import { run, tryRun, until } from './shell.ts';

const PROJECT = 'tledgertest';
const NODES = ['n0', 'n1', 'n2'];
const PORTS = [8081, 8082, 8083];
const TOPIC = 'docker';
const MESSAGES_EACH = 3_000;
const PHASES = 3;
const SIZE_BYTES = 512;
const BUILD_TIMEOUT_MS = 600_000;
const HEALTHY_TIMEOUT_MS = 60_000;
const FAILOVER_MS_MAX = 5_000;

const startMs = performance.now();
const say = (text: string): void =>
  console.log(`${((performance.now() - startMs) / 1000).toFixed(1).padStart(6)} s  ${text}`);

/** The three containers, by compose. */
class Stack {
  readonly #engine: Engine;
  readonly #env: NodeJS.ProcessEnv;

  constructor(engine: Engine, baseImage: string) {
    this.#engine = engine;
    this.#env = { ...engine.env, BASE_IMAGE: baseImage, TLEDGER_IMAGE: 'tledger-test:local' };
  }

  compose(...args: string[]): Promise<string> {
    const [program, ...first] = this.#engine.compose;
    return run(program, [...first, '-p', PROJECT, ...args], { env: this.#env, timeoutMs: BUILD_TIMEOUT_MS });
  }

  docker(...args: string[]): Promise<string> {
    return run('docker', args, { env: this.#env });
  }

  async containerOf(node: string): Promise<string> {
    return (await this.compose('ps', '-q', node)).trim();
  }

  async inspect(node: string, what: string): Promise<string> {
    return (await this.docker('inspect', '--format', what, await this.containerOf(node))).trim();
  }

  async untilHealthy(nodes: readonly string[] = NODES): Promise<void> {
    for (const node of nodes) {
      const isHealthy = async () => (await this.inspect(node, '{{.State.Health.Status}}')) === 'healthy';
      await until(isHealthy, `${node} is healthy`, HEALTHY_TIMEOUT_MS);
    }
  }

  async down(): Promise<void> {
    await this.compose('down', '-v', '--remove-orphans').catch((error: Error) => say(`down failed: ${error.message}`));
    await tryRun('docker', ['image', 'rm', 'tledger-test:local'], { env: this.#env });
  }
}

async function scenario(stack: Stack): Promise<void> {
  await stack.compose('up', '-d', '--build');
  await stack.untilHealthy();
  say('three containers are healthy');
  const client = new TLedgerClient({ endpoints: PORTS.map((port) => `localhost:${port}`), timeoutMs: 30_000 });
  const comparison = new Comparison({ producers: PHASES, messagesEach: MESSAGES_EACH, queues: 4 });
  try {
    await client.admin.createTopic(TOPIC, { queues: 4 });
    await send(client, comparison, 0);
    say(`${MESSAGES_EACH} messages acknowledged`);

    const { leader } = await client.admin.metadata();
    if (leader === null) throw new Error('a healthy group has a leader');
    const sending = send(client, comparison, 1);
    await stack.compose('kill', '-s', 'SIGKILL', leader.nodeId);
    const gapMs = await sending;
    say(`${leader.nodeId}, the leader's container, killed: ${MESSAGES_EACH} more acknowledged, silence ${gapMs} ms`);
    if (gapMs > FAILOVER_MS_MAX) throw new Error(`nobody was served for ${gapMs} ms`);
    await stack.compose('start', leader.nodeId);
    await stack.untilHealthy();
    say(`${leader.nodeId} is back and healthy`);

    const moved = NODES.find((node) => node !== leader.nodeId)!;
    const [before, after] = await recreate(stack, moved);
    say(`${moved} was made anew with its data (address ${before} -> ${after})`);
    await send(client, comparison, 2);
    say(`${MESSAGES_EACH} more acknowledged`);

    await readBack(client, comparison);
    await until(
      async () => (await client.admin.verifyLog()).identical,
      'all logs are byte-identical',
      HEALTHY_TIMEOUT_MS,
    );
    say('all read back, all three logs byte-identical');
    await readInside(stack, moved);
  } finally {
    await client.close();
  }
  await stack.compose('stop');
  for (const node of NODES) {
    const exitCode = await stack.inspect(node, '{{.State.ExitCode}}');
    if (exitCode !== '0') throw new Error(`${node} ended with exit code ${exitCode} when it was stopped`);
  }
  say('all nodes stopped with exit code 0');
}

/** Sends one phase's messages; resolves with the longest silence between two acknowledgements. */
async function send(client: TLedgerClient, comparison: Comparison, phase: number): Promise<number> {
  const producer = client.producer();
  let lastMs = performance.now();
  let longestMs = 0;
  for (let number = 0; number < MESSAGES_EACH; number++) {
    const body = makeBody({ producer: phase, number }, SIZE_BYTES);
    producer.append({ topic: TOPIC, queue: comparison.queueOf(number), body }, (error) => {
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - lastMs);
      lastMs = nowMs;
      comparison.settled(
        phase,
        number,
        error === null ? 'acknowledged' : error.code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'failed',
      );
    });
    // Paced, so that the fault falls into the middle.
    if (number % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await producer.close();
  return Math.round(longestMs);
}

async function readBack(client: TLedgerClient, comparison: Comparison): Promise<void> {
  for await (const { queue, messages } of client.consumeBatches({ topic: TOPIC, untilEnd: true })) {
    for (const { body } of messages) {
      const sent = readBody(body, SIZE_BYTES);
      if (sent === undefined) comparison.readForeign();
      else comparison.read(queue, sent.producer, sent.number);
    }
  }
  const verdict = comparison.verdict();
  if (!isFaultless(verdict) || verdict.acknowledged !== PHASES * MESSAGES_EACH) {
    throw new Error(`a promise was broken: ${JSON.stringify(verdict)}`);
  }
}

/** Removes a node's container and makes a new one on the same volume. @returns its addresses before and after. */
async function recreate(stack: Stack, node: string): Promise<[string, string]> {
  const addressOf = () => stack.inspect(node, '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}');
  const before = await addressOf();
  await stack.compose('rm', '-sf', node);
  // Somebody else takes its address meanwhile.
  const squatter = (
    await stack.docker(
      'run',
      '-d',
      '--rm',
      '--network',
      `${PROJECT}_default`,
      '--entrypoint',
      'sleep',
      'tledger-test:local',
      '60',
    )
  ).trim();
  try {
    await stack.compose('up', '-d', '--no-deps', node);
    await stack.untilHealthy([node]);
    return [before, await addressOf()];
  } finally {
    await stack.docker('rm', '-f', squatter).catch(() => {});
  }
}

/** A client inside the network reaches every node by its service name, whatever address the leader is advertised under. */
async function readInside(stack: Stack, node: string): Promise<void> {
  for (const target of NODES) {
    const args = ['exec', '-T', node, 'tledger', '--endpoints', `${target}:8081`, '--format', 'json'];
    await stack.compose(...args, 'message', 'send', '--topic', TOPIC, `hello from inside by ${target}`);
    const described = await stack.compose(...args, 'topic', 'describe', TOPIC);
    if (!described.includes(TOPIC)) throw new Error(`${target} does not describe the topic: ${described}`);
  }
  say('clients inside the network are served by every node');
}

async function main(): Promise<void> {
  let engine: Engine;
  try {
    engine = await findEngine();
  } catch (error) {
    if (!(error instanceof Impossible)) throw error;
    console.log(`skipped: ${error.message}`);
    return;
  }
  say(engine.isOurs ? 'started a Docker engine of our own' : 'using the Docker engine of this machine');
  try {
    const baseImage = await findBaseImage(engine, say);
    say(`base image ${baseImage}`);
    await assertPortsFree('0.0.0.0', PORTS);
    const stack = new Stack(engine, baseImage);
    try {
      await scenario(stack);
    } catch (error) {
      console.log((await stack.compose('logs', '--tail', '20').catch(() => '')).slice(-8_000));
      throw error;
    } finally {
      await stack.down();
      say('taken down');
    }
  } catch (error) {
    if (!(error instanceof Impossible)) throw error;
    console.log(`skipped: ${error.message}`);
  } finally {
    await engine[Symbol.asyncDispose]();
  }
}

// A second Ctrl-C ends at once; the first lets what is under way fail and be taken down.
process.once('SIGINT', () => say('interrupted: taking everything down'));
await main().catch((error: unknown) => {
  console.error(`FAILED: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
