// A Docker engine to test with: the one of this machine if it answers, else one of our own, as root, that is gone
// afterwards with everything it made.
import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isInstalled, run, tryRun, until } from './shell.ts';

/** An engine that answers. */
export interface Engine extends AsyncDisposable {
  /** Environment for `docker` and compose. */
  readonly env: NodeJS.ProcessEnv;
  /** Compose as this machine has it: `docker compose` or `docker-compose`. */
  readonly compose: readonly [string, ...string[]];
  /** It was started here, for this test alone. */
  readonly isOurs: boolean;
}

/** Why there is no engine; the test is skipped then. */
export class Impossible extends Error {}

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 20_000;

/** Finds or starts an engine. @throws Impossible */
export async function findEngine(): Promise<Engine> {
  if (!isInstalled('docker')) throw new Impossible('docker is not installed (Debian: docker.io)');
  if (await answers(process.env)) {
    const compose = await findCompose(process.env);
    return { env: process.env, compose, isOurs: false, [Symbol.asyncDispose]: async () => {} };
  }
  if (process.getuid?.() !== 0) throw new Impossible('no Docker engine answers, and only root can start one');
  for (const program of ['dockerd', 'iptables']) {
    if (!isInstalled(program)) throw new Impossible(`no Docker engine answers, and ${program} is not installed`);
  }
  return startEngine();
}

async function startEngine(): Promise<Engine> {
  const directory = mkdtempSync(join(tmpdir(), 'tledger-docker-'));
  const env = { ...process.env, DOCKER_HOST: `unix://${directory}/docker.sock` };
  const compose = await findCompose(env);
  const rules = await run('iptables-save', []);
  const hadBridge = await hasBridge();
  const log = openSync(join(directory, 'log'), 'a');
  const flags = ['--data-root', `${directory}/data`, '--exec-root', `${directory}/exec`, '--host', env.DOCKER_HOST];
  const daemon = spawn('dockerd', [...flags, '--pidfile', `${directory}/pid`], { stdio: ['ignore', log, log] });
  const ended = new Promise<void>((resolve) => daemon.once('exit', () => resolve()));
  const dispose = async (): Promise<void> => {
    daemon.kill('SIGTERM');
    const timer = setTimeout(() => daemon.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
    writeFileSync(join(directory, 'rules'), rules);
    await tryRun('iptables-restore', [join(directory, 'rules')]);
    if (!hadBridge) await tryRun('ip', ['link', 'delete', 'docker0']);
    for (const mount of mountsBelow(directory)) await tryRun('umount', ['-l', mount]);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await until(() => answers(env), 'the Docker engine answers', START_TIMEOUT_MS);
  } catch {
    const said = readFileSync(join(directory, 'log'), 'utf8').trim().split('\n').slice(-3).join('\n  ');
    await dispose();
    throw new Impossible(`a Docker engine could not be started here:\n  ${said}`);
  }
  return { env, compose, isOurs: true, [Symbol.asyncDispose]: dispose };
}

async function answers(env: NodeJS.ProcessEnv): Promise<boolean> {
  return run('docker', ['version', '--format', '{{.Server.Version}}'], { env, timeoutMs: 10_000 }).then(
    () => true,
    () => false,
  );
}

async function findCompose(env: NodeJS.ProcessEnv): Promise<readonly [string, ...string[]]> {
  const hasPlugin = await run('docker', ['compose', 'version'], { env }).then(
    () => true,
    () => false,
  );
  if (hasPlugin) return ['docker', 'compose'];
  if (isInstalled('docker-compose')) return ['docker-compose'];
  throw new Impossible('neither `docker compose` nor docker-compose is installed');
}

function hasBridge(): Promise<boolean> {
  return run('ip', ['link', 'show', 'docker0']).then(
    () => true,
    () => false,
  );
}

/** Mount points below a directory, the deepest first. */
function mountsBelow(directory: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${directory}/`))
    .sort((a, b) => b.length - a.length);
}
