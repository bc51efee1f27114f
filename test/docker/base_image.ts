// The base image that nodes are built on: the ordinary one where it is there or can be pulled, else one made on this
// machine from Debian's packages and this machine's own Node. Such an image is for this test only, never to be published.
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Engine, Impossible } from './engine.ts';
import { isInstalled, run } from './shell.ts';

const ORDINARY = 'node:24-bookworm-slim';
const LOCAL = 'tledger-test-base:local';
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
const PULL_TIMEOUT_MS = 300_000;
const BOOTSTRAP_TIMEOUT_MS = 600_000;

/** The name of a base image that the engine has. @throws Impossible */
export async function findBaseImage(engine: Engine, say: (text: string) => void): Promise<string> {
  const { env } = engine;
  for (const image of [process.env.BASE_IMAGE, ORDINARY, LOCAL]) {
    if (image !== undefined && (await succeeds(run('docker', ['image', 'inspect', image], { env })))) return image;
  }
  if (await succeeds(run('docker', ['pull', ORDINARY], { env, timeoutMs: PULL_TIMEOUT_MS }))) return ORDINARY;
  if (process.getuid?.() !== 0)
    throw new Impossible(`${ORDINARY} cannot be pulled, and only root can make a substitute`);
  if (!isInstalled('debootstrap'))
    throw new Impossible(`${ORDINARY} cannot be pulled, and debootstrap is not installed`);
  say('no image registry can be reached: making a base image from this machine');
  await makeBaseImage(env);
  return LOCAL;
}

async function makeBaseImage(env: NodeJS.ProcessEnv): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tledger-base-'));
  const root = join(directory, 'root');
  try {
    const flags = ['--variant=minbase', '--include=ca-certificates,libstdc++6'];
    await run('debootstrap', [...flags, 'bookworm', root, debianMirror()], { timeoutMs: BOOTSTRAP_TIMEOUT_MS });
    copyNode(root);
    // Behind a proxy with its own certificate authority, `npm ci` needs what this machine trusts.
    if (existsSync(CERTIFICATES)) copyFileSync(CERTIFICATES, join(root, CERTIFICATES));
    await run('chroot', [root, 'useradd', '--create-home', '--uid', '1000', 'node']);
    const registry = (await run('npm', ['config', 'get', 'registry'])).trim();
    const changes = ['CMD ["node"]', `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`, `ENV NPM_CONFIG_REGISTRY=${registry}`];
    const archive = join(directory, 'root.tar');
    const excluded = ['proc', 'sys', 'dev'].map((name) => `--exclude=./${name}/*`);
    await run('tar', ['-C', root, ...excluded, '-cf', archive, '.'], { timeoutMs: BOOTSTRAP_TIMEOUT_MS });
    const flagsOfImport = changes.flatMap((change) => ['--change', change]);
    await run('docker', ['import', ...flagsOfImport, archive, LOCAL], { env, timeoutMs: BOOTSTRAP_TIMEOUT_MS });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** This machine's Node and npm, where the ordinary image has them. */
function copyNode(root: string): void {
  const prefix = dirname(dirname(process.execPath));
  mkdirSync(join(root, 'usr/local/lib/node_modules'), { recursive: true });
  copyFileSync(process.execPath, join(root, 'usr/local/bin/node'));
  cpSync(join(prefix, 'lib/node_modules/npm'), join(root, 'usr/local/lib/node_modules/npm'), { recursive: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
}

/** Where this machine gets its packages from. */
function debianMirror(): string {
  const files = ['/etc/apt/sources.list.d/debian.sources', '/etc/apt/sources.list'].filter((path) => existsSync(path));
  const text = files.map((path) => readFileSync(path, 'utf8')).join('\n');
  const found = /^(?:URIs:|deb(?: \[[^\]]*\])?)\s+(https?:\/\/\S+)/m.exec(text)?.[1];
  return found ?? 'http://deb.debian.org/debian';
}

function succeeds(task: Promise<unknown>): Promise<boolean> {
  return task.then(
    () => true,
    () => false,
  );
}
