// Who is at the other end of a connection: members tell each other one address a node, so that a proxy in front of it
// cannot know by the port who dials. Linux knows: /proc/net/tcp has the socket behind the dialler's port, /proc/<pid>/fd
// the process that holds it, and its command line says which node it is.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Columns of a line of /proc/net/tcp, see proc(5). */
const LOCAL_ADDRESS_AT = 1;
const INODE_AT = 9;

/** Finds the nodes of one cluster among the processes of this machine. */
export class Diallers {
  readonly #dataDir: string;
  /** By process. Process ids come again only after a long time. */
  readonly #nodes = new Map<number, string>();

  /** @param dataDir lies above the data of every node of the cluster, and of no other. */
  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /**
   * The node that holds the end of a connection at `port` of this machine.
   * @returns undefined when no node does, or the connection is gone by now.
   */
  nodeAt(port: number): string | undefined {
    const inode = inodeAt(port);
    if (inode === undefined) return undefined;
    const link = `socket:[${inode}]`;
    return this.#processes().find(({ pid }) => holds(pid, link))?.nodeId;
  }

  /** The cluster's processes that run. */
  #processes(): { pid: number; nodeId: string }[] {
    return readdirSync('/proc').flatMap((name) => {
      const pid = Number(name);
      if (!Number.isInteger(pid)) return [];
      const nodeId = this.#nodeOf(pid);
      return nodeId === null ? [] : [{ pid, nodeId }];
    });
  }

  #nodeOf(pid: number): string | null {
    const known = this.#nodes.get(pid);
    if (known !== undefined) return known;
    const words = (quietly(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '').split('\0');
    const nodeId = words[words.indexOf('--node-id') + 1];
    // Others are looked at again: a process that has just been made is not yet what it will be.
    if (nodeId === undefined || !words.some((word) => word.startsWith(this.#dataDir))) return null;
    this.#nodes.set(pid, nodeId);
    return nodeId;
  }
}

function inodeAt(port: number): string | undefined {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const columns = line.trim().split(/\s+/);
    if (columns[LOCAL_ADDRESS_AT]?.endsWith(suffix) && columns[INODE_AT] !== '0') return columns[INODE_AT];
  }
  return undefined;
}

function holds(pid: number, link: string): boolean {
  const names = quietly(() => readdirSync(`/proc/${pid}/fd`)) ?? [];
  return names.some((name) => quietly(() => readlinkSync(`/proc/${pid}/fd/${name}`)) === link);
}

/** Processes and their files come and go while they are looked at. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
