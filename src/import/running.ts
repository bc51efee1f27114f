// Whether a broker runs on a store: it holds a lock on the file `lock` (Java takes a record lock). The system tells who
// holds locks, so nothing has to be locked, and nothing touched, to know.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { messageOf, TLedgerError } from '../base/errors.ts';

/** Where Linux lists all locks. */
const LOCKS_FILE = '/proc/locks';

/** A lock that some process holds. */
export interface HeldLock {
  readonly pid: number;
  readonly inode: number;
}

/**
 * Locks in the text of /proc/locks, such as `1: POSIX  ADVISORY  WRITE 4711 08:02:1310737 0 EOF`. Those that are only
 * waited for have an arrow and are left out.
 */
export function heldLocks(text: string): HeldLock[] {
  const lines = text.matchAll(/^\d+: (?:POSIX|FLOCK|OFDLCK)\s+\S+\s+\S+\s+(-?\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\s/gm);
  return [...lines].map(([, pid, inode]) => ({ pid: Number(pid), inode: Number(inode) }));
}

/**
 * Checks that nobody holds a lock on the file `path`; one that is not there is held by nobody.
 * @throws TLedgerError DATA_DIR_LOCKED naming the process.
 */
export function assertNotRunning(path: string, locks = readLocks()): void {
  const inode = statSync(path, { throwIfNoEntry: false })?.ino;
  if (inode === undefined) return;
  const held = heldLocks(locks).filter((lock) => lock.inode === inode);
  const holder = held.find(({ pid }) => hasOpen(pid, path) !== false);
  if (holder === undefined) return;
  const who = holder.pid > 0 ? `process ${holder.pid}` : 'a process';
  throw new TLedgerError('DATA_DIR_LOCKED', `${path} is held by ${who}: stop the broker first`);
}

function readLocks(): string {
  try {
    return readFileSync(LOCKS_FILE, 'latin1');
  } catch (error) {
    // Elsewhere nobody lists them; what is written to meanwhile is noticed at the end.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new TLedgerError('STORAGE_FAILED', `${LOCKS_FILE} cannot be read: ${messageOf(error)}`, error);
  }
}

/** Whether the process has the file open, so that it is not another one of that number on another disk; null: unknown. */
function hasOpen(pid: number, path: string): boolean | null {
  try {
    const target = statSync(path);
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        if (readlinkSync(`/proc/${pid}/fd/${fd}`) === path) return true;
        const { ino, dev } = statSync(`/proc/${pid}/fd/${fd}`);
        return ino === target.ino && dev === target.dev;
      } catch {
        return false;
      }
    });
  } catch {
    return null;
  }
}
