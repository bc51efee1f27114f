// `npm run test:disk-errors -- [--only words] [--keep]`: three real nodes under load, each on a disk of its own, and one thing
// wrong with one of these at a time. The node says clearly what it is and stops in order, or goes on; the group goes on
// with the others; put right, the node is a member like before; in the end nothing acknowledged is missing. Needs root.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { TLedgerClient } from '../../src/client/index.ts';
import { type ChildExit, describeExit, programArguments } from '../../src/server/child_node.ts';
import { LocalCluster } from '../../src/server/local_cluster.ts';
import { History } from '../chaos/history.ts';
import { isFaultless, judge } from '../chaos/judge.ts';
import { Load } from '../chaos/load.ts';
import { until } from '../chaos/pause.ts';
import { readLog, verifyReplicas } from '../chaos/replicas.ts';
import { isCommand, LoopDisks, whyNoLoopDisks } from './loop_disks.ts';

const NODES = ['n0', 'n1', 'n2'];
const GROUP = 'g0';
const TOPIC = 'orders';
const QUEUES = 2;
const SERVED_COUNT = 30;
const WITHIN_MS = 30_000;

/** What is wrong, with whom, and what is to be expected. */
interface Fault {
  readonly name: string;
  /** Whose disk. */
  readonly victim: 'leader' | 'follower';
  /** Does it, and waits for what must come of it. @returns what the node said. */
  readonly act: (scene: Scene, nodeId: string) => Promise<string>;
  /** Puts it right; the node is started afterwards if it does not run. */
  readonly cure?: (scene: Scene, nodeId: string) => void;
}

class Scene {
  readonly disks = LoopDisks.make(NODES);
  readonly history = new History(QUEUES);
  readonly exits = new Map<string, ChildExit>();
  cluster!: LocalCluster;
  client!: TLedgerClient;

  async start(): Promise<Load> {
    this.cluster = await LocalCluster.start({
      dataDir: this.disks.directory,
      settings: { segmentSizeBytes: '8MiB' },
      startTimeoutMs: 60_000,
      onEvent: (event) => {
        if (event.kind === 'exited') this.exits.set(event.nodeId, event);
      },
    });
    this.client = new TLedgerClient({ endpoints: this.cluster.endpoints, timeoutMs: 20_000 });
    await this.cluster.waitForLeader();
    await this.client.admin.createTopic(TOPIC, { queues: QUEUES });
    const { endpoints } = this.cluster;
    const load = new Load({ endpoints, topic: TOPIC, history: this.history, ratePerSender: 300 });
    load.startProducer({ window: 8 });
    load.startUnarySender();
    return load;
  }

  pathOf(nodeId: string, ...names: string[]): string {
    return join(this.disks.pathOf(nodeId), GROUP, ...names);
  }

  log(nodeId: string): string {
    return readFileSync(join(this.disks.pathOf(nodeId), 'node.log'), 'utf8');
  }

  async victim(kind: Fault['victim']): Promise<string> {
    const { nodeId } = await this.cluster.waitForLeader();
    return kind === 'leader' ? nodeId : NODES.find((one) => one !== nodeId)!;
  }

  /** The group acknowledges, though one node may be gone. */
  async serves(): Promise<void> {
    const enough = this.history.acknowledged + SERVED_COUNT;
    if (!(await until(() => this.history.acknowledged >= enough, WITHIN_MS))) throw new Error('nothing is served');
  }

  /** The node ends by itself, with an exit code, and says why. */
  async ends(nodeId: string): Promise<string> {
    if (!(await until(() => this.exits.has(nodeId), WITHIN_MS))) throw new Error('the node goes on');
    const exit = this.exits.get(nodeId)!;
    if (exit.code === null || exit.code === 0) throw new Error(`the node ${describeExit(exit)}`);
    return lastError(this.log(nodeId));
  }

  async stop(nodeId: string): Promise<void> {
    await this.cluster.kill(nodeId, 'SIGTERM');
  }

  /** A start that is refused. @returns why. */
  async refuses(nodeId: string): Promise<string> {
    try {
      await this.cluster.restart(nodeId);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error('the node starts');
  }

  /** A start that repairs, or needs nothing. */
  async starts(nodeId: string): Promise<string> {
    await this.cluster.restart(nodeId);
    return lastError(this.log(nodeId));
  }

  async close(): Promise<void> {
    await this.client?.close();
    await this.cluster?.stop();
    this.disks.close();
  }
}

function lastError(log: string): string {
  const lines = log
    .trim()
    .split('\n')
    .filter((line) => /error|warn/i.test(line));
  return (lines.at(-1) ?? 'nothing').slice(0, 220);
}

/** Calls that may fail before a node has ended: the first one, and what was under way beside it or is tried while it ends. */
const FAILED_CALLS_MAX = 4;

/** Fails every system call of that name in a running process from now on: the first must be the end of it. */
async function inject(scene: Scene, nodeId: string, call: string, error: string): Promise<string> {
  const pid = scene.cluster.pidOf(nodeId);
  const trace = join(scene.disks.directory, `trace-${nodeId}`);
  const args = ['-f', '-p', String(pid), '-o', trace, '-e', `trace=${call}`, '-e', `inject=${call}:error=${error}`];
  const tracer = spawn('strace', args, { stdio: 'ignore' });
  const traced = once(tracer, 'exit');
  try {
    const said = await scene.ends(nodeId);
    const failed = readFileSync(trace, 'utf8').split('(INJECTED)').length - 1;
    if (failed > FAILED_CALLS_MAX) throw new Error(`the node went on over ${failed} failed calls, then said: ${said}`);
    return `${said.trim()} (${failed} failed)`;
  } finally {
    tracer.kill('SIGKILL');
    await traced;
    rmSync(trace, { force: true });
  }
}

/** A start whose log goes elsewhere. @returns what it says before it ends with an exit code. */
function refusalOf(scene: Scene, nodeId: string): string {
  const where = ['--data-dir', scene.disks.pathOf(nodeId), '--node-id', nodeId];
  const args = [...programArguments(), 'node', 'start', ...where];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: WITHIN_MS });
  if (status === null || status === 0) throw new Error(`the node starts: ${stderr}`);
  return stderr;
}

const newest = (directory: string): string => join(directory, readdirSync(directory).sort().at(-1)!);

function lose(name: string, path: (scene: Scene, nodeId: string) => string): Fault {
  return {
    name: `${name} is removed while the node is stopped`,
    victim: 'follower',
    act: async (scene, nodeId) => {
      await scene.stop(nodeId);
      rmSync(path(scene, nodeId), { recursive: true });
      return scene.starts(nodeId);
    },
  };
}

const injected: readonly Fault[] = (['leader', 'follower'] as const).flatMap((victim) =>
  [
    ['fdatasync', 'EIO'],
    ['pwrite64', 'EIO'],
    ['pwrite64', 'ENOSPC'],
    ['ftruncate', 'ENOSPC'],
  ]
    .filter(([call]) => call !== 'ftruncate')
    .map(([call, error]) => ({
      name: `${call} fails with ${error}`,
      victim,
      act: (scene: Scene, nodeId: string) => inject(scene, nodeId, call!, error!),
    })),
);

const faults: readonly Fault[] = [
  ...injected,
  {
    name: 'the device is gone',
    victim: 'leader',
    act: async (scene, nodeId) => {
      scene.disks.cutPower([nodeId]);
      if (!(await until(() => scene.exits.has(nodeId), WITHIN_MS))) throw new Error('the node goes on');
      return describeExit(scene.exits.get(nodeId)!);
    },
    cure: (scene, nodeId) => scene.disks.remount([nodeId]),
  },
  {
    name: 'the disk is read-only',
    victim: 'follower',
    act: async (scene, nodeId) => {
      await scene.stop(nodeId);
      scene.disks.unmount(nodeId);
      scene.disks.mount(nodeId, 'loop,ro');
      return refusalOf(scene, nodeId);
    },
    cure: (scene, nodeId) => scene.disks.remount([nodeId]),
  },
  {
    name: 'the vote may not be written',
    victim: 'follower',
    act: async (scene, nodeId) => {
      await scene.stop(nodeId);
      execFileSync('chattr', ['+i', scene.pathOf(nodeId, 'hardstate')]);
      return scene.refuses(nodeId);
    },
    cure: (scene, nodeId) => void execFileSync('chattr', ['-i', scene.pathOf(nodeId, 'hardstate')]),
  },
  {
    name: 'the directory is that of another node',
    victim: 'follower',
    act: async (scene, nodeId) => {
      await scene.stop(nodeId);
      const file = scene.pathOf(nodeId, 'identity');
      renameSync(file, `${file}.own`);
      const other = NODES.find((one) => one !== nodeId)!;
      execFileSync('cp', [scene.pathOf(other, 'identity'), file]);
      return scene.refuses(nodeId);
    },
    cure: (scene, nodeId) => {
      const file = scene.pathOf(nodeId, 'identity');
      renameSync(`${file}.own`, file);
    },
  },
  {
    name: 'the tail segment is removed while the node runs',
    victim: 'follower',
    act: async (scene, nodeId) => {
      rmSync(newest(scene.pathOf(nodeId, 'commitlog')));
      await scene.serves();
      await scene.stop(nodeId);
      return scene.starts(nodeId);
    },
  },
  lose('a segment', (scene, nodeId) => newest(scene.pathOf(nodeId, 'commitlog'))),
  lose('the log index', (scene, nodeId) => scene.pathOf(nodeId, 'index')),
  lose('the checkpoint', (scene, nodeId) => scene.pathOf(nodeId, 'checkpoint')),
  lose('a consume queue', (scene, nodeId) => scene.pathOf(nodeId, 'consumequeue', TOPIC, '0')),
  lose('the state', (scene, nodeId) => scene.pathOf(nodeId, 'state')),
  {
    name: 'the vote is removed while the node is stopped',
    victim: 'follower',
    act: async (scene, nodeId) => {
      await scene.stop(nodeId);
      const file = scene.pathOf(nodeId, 'hardstate');
      renameSync(file, `${file}.away`);
      return scene.refuses(nodeId);
    },
    cure: (scene, nodeId) => {
      const file = scene.pathOf(nodeId, 'hardstate');
      renameSync(`${file}.away`, file);
    },
  },
  {
    name: 'the disk is full',
    victim: 'follower',
    act: async (scene, nodeId) => {
      const filler = join(scene.disks.pathOf(nodeId), 'filler');
      try {
        execFileSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M'], { stdio: 'ignore' });
      } catch {
        // That is how it ends.
      }
      if (!existsSync(filler) || statSync(filler).size === 0) throw new Error('the disk could not be filled');
      await scene.serves();
      // Until nothing is needed it may go on; then it ends, or refuses and says so.
      const isEnded = await until(() => scene.exits.has(nodeId), 5_000);
      return isEnded ? scene.ends(nodeId) : `goes on: ${lastError(scene.log(nodeId))}`;
    },
    cure: (scene, nodeId) => rmSync(join(scene.disks.pathOf(nodeId), 'filler')),
  },
];

async function run(scene: Scene, { name, victim, act, cure }: Fault): Promise<string | null> {
  const nodeId = await scene.victim(victim);
  scene.exits.clear();
  let problem: string | null = null;
  try {
    const said = await act(scene, nodeId);
    await scene.serves();
    console.log(`${name} (${victim}): ${said.trim()}`);
  } catch (error) {
    problem = `${name} (${victim} ${nodeId}): ${(error as Error).message}`;
  }
  cure?.(scene, nodeId);
  try {
    if (!scene.cluster.isRunning(nodeId)) await scene.cluster.restart(nodeId);
    const { identical, why } = await verifyReplicas(scene.client, WITHIN_MS);
    if (!identical) problem ??= `${name}: put right, replicas differ: ${why}`;
  } catch (error) {
    problem ??= `${name}: put right, it does not start: ${(error as Error).message}`;
  }
  return problem;
}

const values = new Command('npm run test:disk-errors --')
  .description(
    'Disks of real nodes that fail, fill up and turn read-only under load; needs root, loop devices, strace, chattr and dd.',
  )
  .option('--only <text>', 'faults whose name holds it', '')
  .parse()
  .opts<{ only: string }>();
const reason = whyNoLoopDisks() ?? ['strace', 'chattr', 'dd'].find((tool) => !isCommand(tool));
if (reason != null) {
  console.log(`skipped: ${reason.includes(' ') ? reason : `${reason} is missing`}`);
  process.exit(0);
}
const scene = new Scene();
const problems: string[] = [];
try {
  const load = await scene.start();
  for (const fault of faults.filter(({ name }) => name.includes(values.only))) {
    const problem = await run(scene, fault);
    if (problem === null) continue;
    problems.push(problem);
    console.log(`PROBLEM ${problem}`);
  }
  await load.stop();
  const verdict = judge(scene.history, await readLog(scene.client, TOPIC, QUEUES));
  console.log(`${verdict.acknowledged} acknowledged, ${verdict.faults.lost} of them lost`);
  if (!isFaultless(verdict)) problems.push(...verdict.examples);
} finally {
  await scene.close();
}
console.log(problems.length === 0 ? 'each was told clearly, and nothing was lost' : problems.join('\n'));
process.exit(problems.length === 0 ? 0 : 1);
