// Ports of this machine: which are free, and who has one that is not.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { TLedgerError } from '../base/errors.ts';

/**
 * Free ports are looked for here: below the range from which systems take the ports of outgoing connections, so that a
 * node that is restarted finds its port free.
 */
const SEARCH_FIRST = 20_000;
const SEARCH_LAST = 31_999;
const ATTEMPTS_MAX = 1_000;
const HEX = 16;

/** Distinct ports that were free on `host` a moment ago. @throws TLedgerError PORT_IN_USE when none can be found. */
export async function freePorts(count: number, host = '127.0.0.1'): Promise<number[]> {
  const found = new Set<number>();
  for (let attempt = 0; found.size < count && attempt < ATTEMPTS_MAX; attempt++) {
    const port = SEARCH_FIRST + Math.floor(Math.random() * (SEARCH_LAST - SEARCH_FIRST + 1));
    if (!found.has(port) && (await isPortFree(host, port))) found.add(port);
  }
  if (found.size < count) throw new TLedgerError('PORT_IN_USE', `no ${count} free ports were found on ${host}`);
  return [...found];
}

/** Whether a listener could be bound now. */
export function isPortFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
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
