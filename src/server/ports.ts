// Ports of this machine: which are free, and who has one that is not.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { TLedgerError } from '../base/errors.ts';

/**
 * Free ports are looked for here: below the range from which systems take the ports of outgoing connections, so that a
 * node that is restarted finds its port free. They are handed out of blocks, each by one process only:
 *
 *   20000         20001 ... 20049   20050         20051 ... 20099   ... 31999
 *   guard         handed out        guard         handed out
 *
 * Whoever listens on a guard owns its block, until it ends. So two processes that start nodes at the same time never hand
 * out the same port, though it takes a while until somebody listens there, or listens there again after a restart.
 */
const SEARCH_FIRST = 20_000;
const BLOCK_PORTS = 50;
const BLOCKS = 240;
const ATTEMPTS_MAX = 1_000;
/** Blocks of one process; when it needs more, the one it took first is free for others. */
const BLOCKS_HELD_MAX = 8;
const HEX = 16;

interface Block {
  readonly guard: Server;
  /** Counted up: no port is handed out twice. */
  next: number;
  readonly end: number;
}

const blocks: Block[] = [];

/** Distinct ports that were free on `host` a moment ago. @throws TLedgerError PORT_IN_USE when none can be found. */
export async function freePorts(count: number, host = '127.0.0.1'): Promise<number[]> {
  const found: number[] = [];
  for (let attempt = 0; found.length < count && attempt < ATTEMPTS_MAX; attempt++) {
    const block = blocks.at(-1);
    if (block === undefined || block.next === block.end) {
      await takeBlock(host);
      continue;
    }
    const port = block.next++;
    if (await isPortFree(host, port)) found.push(port);
  }
  if (found.length < count) throw new TLedgerError('PORT_IN_USE', `no ${count} free ports were found on ${host}`);
  return found;
}

/** Tries one block, at random: processes that start together would get in each other's way otherwise. */
async function takeBlock(host: string): Promise<void> {
  const first = SEARCH_FIRST + Math.floor(Math.random() * BLOCKS) * BLOCK_PORTS;
  const guard = await listenOn(host, first);
  if (guard === null) return;
  guard.unref();
  guard.on('connection', (socket) => socket.destroy());
  blocks.push({ guard, next: first + 1, end: first + BLOCK_PORTS });
  if (blocks.length > BLOCKS_HELD_MAX) blocks.shift()!.guard.close();
}

function listenOn(host: string, port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen(port, host, () => resolve(server));
  });
}

/** Whether a listener could be bound now. */
export async function isPortFree(host: string, port: number): Promise<boolean> {
  const server = await listenOn(host, port);
  if (server === null) return false;
  await new Promise((resolve) => server.close(resolve));
  return true;
}

/** @throws TLedgerError PORT_IN_USE naming the first port that is taken, and by whom where that can be told. */
export async function assertPortsFree(host: string, ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    if (await isPortFree(host, port)) continue;
    const pid = pidListeningOn(port);
    const owner = pid === undefined ? 'another process' : `process ${pid}`;
    throw new TLedgerError('PORT_IN_USE', `port ${port} on ${host} is taken by ${owner}`);
  }
}

/** The process that listens on a TCP port, if the system (Linux) shows it to us. */
export function pidListeningOn(port: number): number | undefined {
  try {
    const sockets = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) => listeningSockets(table, port)));
    if (sockets.size === 0) return undefined;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .find((pid) => holdsOneOf(pid, sockets));
  } catch {
    return undefined;
  }
}

/** Inodes of the sockets that listen on `port`: column 2 is the local address in hex, 4 the state, 10 the inode. */
function listeningSockets(table: string, port: number): string[] {
  const listening = '0A';
  const rows = readFileSync(table, 'utf8').trim().split('\n').slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((columns) => columns[3] === listening && Number.parseInt(columns[1]!.split(':').at(-1)!, HEX) === port)
    .map((columns) => `socket:[${columns[9]}]`);
}

function holdsOneOf(pid: number, sockets: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return sockets.has(readlinkSync(`/proc/${pid}/fd/${fd}`));
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}
