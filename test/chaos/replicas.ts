// What the nodes hold in the end, compared: digests of the log over the wire, then the files of the consume queues.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TLedgerClient } from '../../src/client/index.ts';
import { type FinalLog, keyOfBody } from './history.ts';
import { until } from './pause.ts';

/** How far the replicas agree. */
export interface Agreement {
  /** All answered, and hold the same bytes up to `index`. */
  readonly identical: boolean;
  readonly index: number;
  /** Why not, in words. */
  readonly why: string;
}

/** Asks until all replicas answer and are equal, or the time is up. */
export async function verifyReplicas(client: TLedgerClient, timeoutMs: number): Promise<Agreement> {
  let agreement: Agreement = { identical: false, index: 0, why: 'nobody answered' };
  await until(async () => {
    try {
      const { identical, index, replicas } = await client.admin.verifyLog({ timeoutMs: 5_000 });
      agreement = { identical, index: Number(index), why: identical ? '' : JSON.stringify(replicas) };
    } catch (error) {
      agreement = { identical: false, index: 0, why: String(error) };
    }
    return agreement.identical;
  }, timeoutMs);
  return agreement;
}

/** Reads a topic from its first message to its end. @throws Error when the beginning was cut. */
export async function readLog(client: TLedgerClient, topic: string, queues: number): Promise<FinalLog> {
  return (await readCutLog(client, topic, queues, () => [])).log;
}

/** What a group holds, and how many messages of it are known from readers only, as they have been cut. */
export interface CutLog {
  readonly log: FinalLog;
  readonly cut: number;
}

/**
 * Reads a topic from the first message that is kept to its end.
 * @param shown what readers were shown of a queue, by offset: it stands for what the group has cut.
 * @throws Error when something was cut that nobody was shown.
 */
export async function readCutLog(
  client: TLedgerClient,
  topic: string,
  queues: number,
  shown: (queue: number) => readonly (number | undefined)[],
): Promise<CutLog> {
  const log: number[][] = Array.from({ length: queues }, () => []);
  for await (const { queue, messages } of client.consumeBatches({ topic, untilEnd: true })) {
    for (const message of messages) log[queue]![message.queueOffset] = keyOfBody(message.body);
  }
  let cut = 0;
  log.forEach((keys, queue) => {
    for (let offset = 0; offset < keys.length; offset++) {
      if (keys[offset] !== undefined) continue;
      const key = shown(queue)[offset];
      if (key === undefined) throw new Error(`queue ${queue}: nobody was shown what was cut at ${offset}`);
      keys[offset] = key;
      cut++;
    }
  });
  return { log, cut };
}

/**
 * Compares the files of stopped nodes in a folder of their group, byte by byte. Zeros at
 * the end don't count, as files are preallocated. Of the log one node may hold more: the others end one after the other.
 * @returns what differs, as sentences; nothing when all are equal.
 */
export function compareFiles(
  nodeDirectories: readonly string[],
  group: string,
  folder: 'commitlog' | 'consumequeue',
): string[] {
  const roots = nodeDirectories.map((directory) => join(directory, group, folder));
  const names = new Set(roots.flatMap((root) => filesBelow(root)));
  const differing: string[] = [];
  if (names.size === 0 && roots.length > 0) differing.push(`no node has a ${folder}`);
  for (const name of names) {
    const [first, ...rest] = roots.map((root) => contentOf(join(root, name)));
    rest.forEach((bytes, at) => {
      const from = differsAt(first!, bytes, folder === 'commitlog');
      if (from >= 0) differing.push(`${name}: ${roots[at + 1]} differs from ${roots[0]} at byte ${from}`);
    });
  }
  return differing;
}

function filesBelow(root: string): string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}

function contentOf(path: string): Buffer {
  return existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
}

/** Where two contents begin to differ, zeros at the end of either aside; -1 when they don't. @param mayLag one may be the beginning of the other. */
function differsAt(one: Buffer, other: Buffer, mayLag: boolean): number {
  const [short, long] = [usedOf(one), usedOf(other)].sort((a, b) => a.length - b.length) as [Buffer, Buffer];
  if (short.length < long.length && !mayLag) return short.length;
  if (short.equals(long.subarray(0, short.length))) return -1;
  return short.findIndex((byte, at) => byte !== long[at]);
}

/** Without the zeros at the end, which are preallocated or not yet written. */
function usedOf(bytes: Buffer): Buffer {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}
